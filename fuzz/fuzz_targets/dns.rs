//! What comes to the name server.
#![no_main]

use std::net::IpAddr;

use firstlight::dns::answer::{datagram, one_question};
use firstlight::dns::{Among, Answer, Target, Zone, answer};
use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;

struct Small;

impl Zone for Small {
    fn domain(&self) -> &'static str {
        "a.b"
    }
    fn serial(&self) -> u32 {
        1
    }
    fn server(&self) -> &'static str {
        "s"
    }
    fn addresses(&self, host: &str) -> Option<Vec<IpAddr>> {
        (host.len() < 3).then(|| vec![[10, 0, 0, 1].into()])
    }
    fn host_at(&self, _: IpAddr) -> Option<String> {
        Some("n".into())
    }
    fn covers(&self, _: IpAddr) -> bool {
        true
    }
    fn overlaps(&self, _: IpAddr, _: IpAddr) -> bool {
        true
    }
    fn has_cluster(&self, cluster: &str) -> bool {
        cluster == "c"
    }
    fn role(&self, _: &str, _: &str) -> Option<Vec<String>> {
        Some(vec!["n".into()])
    }
    fn service(&self, _: &str, _: &str, _: &Among<'_>) -> Option<Vec<Target>> {
        Some(vec![Target { host: "n".into(), port: 1 }; 60])
    }
}

fuzz_target!(|bytes: &[u8]| {
    // Most of what is random has no header: a second look behind a good one.
    let mut good = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    good.extend_from_slice(bytes);
    for datagram_in in [bytes, &good] {
        if one_question(datagram_in)
            && let Ok(query) = Message::from_vec(datagram_in)
            && let Answer::Reply(reply) = answer(&query, &Small)
        {
            let out = datagram(&reply, &query).expect("it encodes");
            assert!(out.len() <= 1232);
        }
    }
});
