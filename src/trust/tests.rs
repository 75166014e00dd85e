//! Handshakes in memory between the listener's TLS and the agent's.

use std::sync::Arc;

use rustls::{ClientConnection, ServerConnection};

use super::authority::Authority;
use super::client::{self, Credentials};
use super::server;
use crate::model::{NodeId, Sha256Digest, Timestamp};

const NODE: NodeId = NodeId(7);

fn now() -> Timestamp {
    crate::appliance::now()
}

fn authority(dir: &tempfile::TempDir) -> Authority {
    Authority::open(&dir.path().join("ca")).expect("an authority")
}

fn enrolled(authority: &Authority, at: Timestamp) -> (Credentials, Sha256Digest) {
    let (key, request) = client::request().expect("a key");
    let issued = authority.sign_node(&request, NODE, at).expect("a certificate");
    (Credentials { key, certificate: issued.pem }, issued.fingerprint)
}

/// The digest of the certificate that the client showed, when both sides agree.
fn handshake(
    authority: &Authority,
    pin: Sha256Digest,
    credentials: Option<&Credentials>,
) -> Result<Option<Sha256Digest>, String> {
    let config = client::config(pin, credentials, Timestamp(0)).map_err(|error| error.to_string())?;
    let mut client = ClientConnection::new(config, client::server_name()).expect("a client");
    let mut server =
        ServerConnection::new(server::config(authority, now()).expect("a server")).expect("a server");
    for _ in 0..8 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("memory takes it");
        server.read_tls(&mut wire.as_slice()).expect("memory gives it");
        server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).expect("memory takes it");
        client.read_tls(&mut wire.as_slice()).expect("memory gives it");
        client.process_new_packets().map_err(|error| format!("client: {error}"))?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(server.peer_certificates().and_then(|chain| chain.first()).map(|der| Sha256Digest::of(der)))
}

#[test]
fn a_node_knows_its_appliance_and_is_known_by_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = authority(&dir);
    let (credentials, fingerprint) = enrolled(&authority, now());
    let pin = authority.fingerprint();
    assert_eq!(handshake(&authority, pin, None), Ok(None), "a stranger may speak, as nobody");
    assert_eq!(handshake(&authority, pin, Some(&credentials)), Ok(Some(fingerprint)));

    let reopened = Authority::open(&dir.path().join("ca")).expect("it is there again");
    assert_eq!(reopened.fingerprint(), pin, "the same authority after a restart");
    assert_eq!(handshake(&reopened, pin, Some(&credentials)), Ok(Some(fingerprint)));
}

#[test]
fn others_are_refused() {
    let (here, there) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (ours, theirs) = (authority(&here), authority(&there));
    let (foreign, _) = enrolled(&theirs, now());
    let long_ago = Timestamp(now().0 - 200 * 86_400_000);
    let (expired, _) = enrolled(&ours, long_ago);
    for (name, pin, credentials, side) in [
        ("another appliance", theirs.fingerprint(), None, "client"),
        ("no such authority", Sha256Digest([0; 32]), None, "client"),
        ("a certificate of another authority", ours.fingerprint(), Some(&foreign), "server"),
        ("a certificate that has run out", ours.fingerprint(), Some(&expired), "server"),
    ] {
        let refused = handshake(&ours, pin, credentials).expect_err(name);
        assert!(refused.starts_with(side), "{name}: {refused}");
    }
    // What a node was certified for is being a node: it cannot stand in for the appliance.
    let (node, _) = enrolled(&ours, now());
    let key = rustls::pki_types::pem::PemObject::from_pem_slice(node.key.as_bytes()).expect("a key");
    let chain = vec![client::first_certificate(&node.certificate).expect("one"), ours.certificate().clone()];
    let impostor = rustls::ServerConfig::builder_with_provider(super::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a server");
    let config = client::config(ours.fingerprint(), None, Timestamp(0)).expect("a client");
    let mut client = ClientConnection::new(config, client::server_name()).expect("a client");
    let mut server = ServerConnection::new(Arc::new(impostor)).expect("a server");
    let (mut there, mut back) = (Vec::new(), Vec::new());
    client.write_tls(&mut there).expect("memory takes it");
    server.read_tls(&mut there.as_slice()).expect("memory gives it");
    server.process_new_packets().expect("a hello");
    server.write_tls(&mut back).expect("memory takes it");
    client.read_tls(&mut back.as_slice()).expect("memory gives it");
    let refused = client.process_new_packets().expect_err("a node is no appliance").to_string();
    assert!(refused.contains("certificate"), "{refused}");
}

#[test]
fn requests_that_are_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = authority(&dir);
    let (_, request) = client::request().expect("a key");
    let mut lines: Vec<&str> = request.lines().collect();
    lines.swap(1, 2);
    for (name, text) in [
        ("empty", String::new()),
        ("no PEM", "hello".into()),
        ("too long", "x".repeat(9000)),
        ("mangled", lines.join("\n")),
    ] {
        assert!(authority.sign_node(&text, NODE, now()).is_err(), "{name}");
    }
    std::fs::remove_file(dir.path().join("ca/ca.key")).expect("it is there");
    let error = Authority::open(&dir.path().join("ca")).err().expect("half an authority").to_string();
    assert!(error.contains("ca.key"), "{error}");
}
