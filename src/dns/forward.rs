//! Questions about the rest of the world: passed on to others as they are, and their answers back.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long one of them may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest datagram that is taken.
const LARGEST: usize = 4096;

/// Who is asked, and for whom.
#[derive(Debug, Clone, Default)]
pub struct Forwarder {
    /// Asked one after the other; none: questions about others are refused.
    pub upstreams: Vec<SocketAddr>,
}

impl Forwarder {
    /// Asks for who asked over UDP. The answer may be cut off; then it says so.
    pub async fn over_udp(&self, query: &[u8]) -> Option<Vec<u8>> {
        for upstream in &self.upstreams {
            let answer = tokio::time::timeout(PATIENCE, ask(*upstream, query));
            match answer.await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%upstream, %error, "a name server does not answer"),
                Err(_) => tracing::debug!(%upstream, "a name server does not answer in time"),
            }
        }
        None
    }

    /// Asks for who asked over TCP.
    pub async fn over_tcp(&self, query: &[u8]) -> Option<Vec<u8>> {
        for upstream in &self.upstreams {
            if let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, ask_tcp(*upstream, query)).await {
                return Some(answer);
            }
        }
        None
    }
}

/// The question with another id, and that id: who cannot see the packet must guess it, and the port (RFC 5452 section 9).
fn disguised(query: &[u8]) -> std::io::Result<(Vec<u8>, [u8; 2])> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(std::io::Error::other)?;
    let mut asked = query.to_vec();
    if let Some(first) = asked.get_mut(..2) {
        first.copy_from_slice(&id);
    }
    Ok((asked, id))
}

/// An answer to that question, with the client's own id again; none when it answers something else.
fn unmasked(mut answer: Vec<u8>, query: &[u8], id: [u8; 2]) -> Option<Vec<u8>> {
    let same = answer.get(..2) == Some(&id[..]) && answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    let questions = |bytes: &[u8]| Message::from_vec(bytes).ok().map(|message| message.queries);
    if !same || questions(&answer)? != questions(query)? {
        return None;
    }
    answer.get_mut(..2)?.copy_from_slice(query.get(..2)?);
    Some(answer)
}

async fn ask(upstream: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = match upstream {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    let (asked, id) = disguised(query)?;
    socket.send(&asked).await?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..length).unwrap_or_default().to_vec();
        // Something else may be a forgery: the real one may still come.
        if let Some(answer) = unmasked(answer, query, id) {
            return Ok(answer);
        }
    }
}

async fn ask_tcp(upstream: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let (asked, id) = disguised(query)?;
    let length = u16::try_from(asked.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &asked].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    unmasked(answer, query, id).ok_or_else(|| std::io::Error::other("it answers something else"))
}
