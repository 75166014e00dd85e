//! An image's files on the appliance, over HTTP.

use std::io::{self, Read};
use std::time::Duration;

use super::pipeline::Fetch;
use crate::diskimage::Index;
use crate::model::Sha256Digest;

/// Longest index that is fetched, bytes.
const INDEX_BYTES: u64 = 256 << 20;
/// How long the other side may keep silent.
const SILENCE: Duration = Duration::from_secs(20);

/// A folder with `disk.index` and `disk.data`.
pub struct Source {
    folder: String,
    agent: ureq::Agent,
}

impl Source {
    /// The files below this URL, without a slash at its end.
    pub fn new(folder: String) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .build();
        Self { folder, agent: config.into() }
    }

    /// The index, of this digest.
    ///
    /// # Errors
    /// When it cannot be fetched, has another digest, or makes no sense.
    pub fn index(&self, digest: Sha256Digest) -> io::Result<Index> {
        let mut response =
            self.agent.get(format!("{}/disk.index", self.folder)).call().map_err(io::Error::other)?;
        let bytes =
            response.body_mut().with_config().limit(INDEX_BYTES).read_to_vec().map_err(io::Error::other)?;
        if Sha256Digest::of(&bytes) != digest {
            return Err(io::Error::other("it is not the one that the appliance named"));
        }
        Index::parse(&bytes).map_err(io::Error::other)
    }
}

impl Fetch for Source {
    fn open(&self, from: u64, to: u64) -> io::Result<Box<dyn Read + Send>> {
        let last = to.saturating_sub(1);
        let request = self
            .agent
            .get(format!("{}/disk.data", self.folder))
            .header("range", format!("bytes={from}-{last}"));
        let response = request.call().map_err(io::Error::other)?;
        if response.status().as_u16() != 206 && !(response.status().as_u16() == 200 && from == 0) {
            return Err(io::Error::other(format!("the appliance answered {}", response.status())));
        }
        Ok(Box::new(response.into_body().into_reader()))
    }
}
