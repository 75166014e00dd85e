//! Asks upstream: HTTP/1.1 with or without TLS, a bounded number of redirects, and only to hosts that are allowed.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a connection with its TLS handshake may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long upstream may think before its answer begins.
const ANSWER: Duration = Duration::from_secs(30);
/// Redirects that are followed.
const REDIRECTS: usize = 5;
/// Where systems keep the certificates that they trust.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Why upstream gave no answer.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// The URL cannot be used.
    #[error(
        "{0:?} is no usable URL of a mirror; give http:// or https://, a host and a path, without user, query or fragment"
    )]
    Url(String),
    /// Nobody there.
    #[error("{host} cannot be reached: {cause}")]
    Connect {
        /// Host and port.
        host: String,
        /// The system's error.
        cause: io::Error,
    },
    /// Too slow.
    #[error("{host} did not {what} within {seconds} s")]
    Slow {
        /// Host and port.
        host: String,
        /// What it should have done.
        what: &'static str,
        /// How long it had.
        seconds: u64,
    },
    /// Not HTTP.
    #[error("{host} does not speak HTTP as it should: {cause}")]
    Http {
        /// Host and port.
        host: String,
        /// What is wrong.
        cause: hyper::Error,
    },
    /// A redirect that is not followed.
    #[error(
        "redirected to {0}, which is not allowed; when it should be, name its host under `redirect_hosts` of the mirror"
    )]
    Redirect(String),
    /// Redirects without end.
    #[error("redirected more than {REDIRECTS} times")]
    Redirects,
    /// No certificates to trust.
    #[error(
        "there are no CA certificates to check https with ({0}); install ca-certificates, or set `ca_file` under [mirrors] in the configuration"
    )]
    Roots(String),
}

/// Asks upstream.
pub struct Client {
    ca_file: Option<PathBuf>,
    tls: OnceLock<Arc<ClientConfig>>,
}

/// The URL below which a mirror's files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    uri: Uri,
    hosts: Vec<String>,
}

impl Base {
    /// Checks a URL. Redirects may lead to its own host and to `redirect_hosts`.
    pub fn parse(url: &str, redirect_hosts: &[String]) -> Result<Self, UpstreamError> {
        let bad = || UpstreamError::Url(url.chars().take(200).collect());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if !scheme || !plain || uri.query().is_some() || url.contains('#') {
            return Err(bad());
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?.to_ascii_lowercase();
        let others = redirect_hosts.iter().map(|host| host.to_ascii_lowercase());
        Ok(Self { hosts: std::iter::once(host).chain(others).collect(), uri })
    }

    /// The URL of a plain path.
    fn join(&self, path: &str) -> Result<Uri, UpstreamError> {
        let text = format!("{}/{}", self.uri.to_string().trim_end_matches('/'), super::path::encoded(path));
        text.parse().map_err(|_| UpstreamError::Url(text.chars().take(200).collect()))
    }

    /// Where a redirect leads, if it may.
    fn redirect(&self, from: &Uri, location: &str) -> Result<Uri, UpstreamError> {
        let refused = || UpstreamError::Redirect(location.chars().take(200).collect());
        let (scheme, authority) = (from.scheme_str().unwrap_or("http"), from.authority());
        let authority = authority.map_or("", |authority| authority.as_str());
        let text = match location {
            rest if rest.starts_with("//") => format!("{scheme}:{rest}"),
            rest if rest.starts_with('/') => format!("{scheme}://{authority}{rest}"),
            other => other.to_owned(),
        };
        let uri: Uri = text.parse().map_err(|_| refused())?;
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
        // On its own host a port may not change either, except from that of http to that of https.
        let same_port = uri.port_u16() == from.port_u16() || host != from.host().unwrap_or_default();
        let safe = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => scheme == "http",
            _ => false,
        };
        if user || !safe || !same_port || !self.hosts.contains(&host) { Err(refused()) } else { Ok(uri) }
    }
}

impl Client {
    /// A client that trusts the certificates of `ca_file`, or those of the system.
    pub fn new(ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, tls: OnceLock::new() }
    }

    /// Asks for a plain path with these (conditional) headers, and follows redirects.
    pub async fn get(
        &self,
        base: &Base,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let mut uri = base.join(path)?;
        for _ in 0..=REDIRECTS {
            let response = self.ask(&uri, headers).await?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            uri = base.redirect(&uri, location.unwrap_or_default())?;
        }
        Err(UpstreamError::Redirects)
    }

    async fn ask(&self, uri: &Uri, headers: &HeaderMap) -> Result<Response<Incoming>, UpstreamError> {
        let https = uri.scheme_str() == Some("https");
        let name = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let host = format!("{name}:{port}");
        let connect = async {
            let stream = TcpStream::connect((name, port)).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(stream)
        };
        let slow = |what, limit: Duration| {
            let host = host.clone();
            move |_| UpstreamError::Slow { host, what, seconds: limit.as_secs() }
        };
        let unreachable = |cause| UpstreamError::Connect { host: host.clone(), cause };
        let stream = timeout(CONNECT, connect).await.map_err(slow("accept a connection", CONNECT))?;
        let stream = stream.map_err(unreachable)?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.headers_mut() = headers.clone();
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let bad = || UpstreamError::Url(uri.to_string());
        *request.uri_mut() = target.parse().map_err(|_| bad())?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        request.headers_mut().insert(HOST, HeaderValue::from_str(authority).map_err(|_| bad())?);
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("firstlight"));
        let answer = async {
            if https {
                let server = ServerName::try_from(name.to_owned()).map_err(|_| bad())?;
                let connector = TlsConnector::from(self.tls()?);
                let stream = timeout(CONNECT, connector.connect(server, stream))
                    .await
                    .map_err(slow("finish the TLS handshake", CONNECT))?;
                send(stream.map_err(unreachable)?, request, &host).await
            } else {
                send(stream, request, &host).await
            }
        };
        timeout(ANSWER, answer).await.map_err(slow("answer", ANSWER))?
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, UpstreamError> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let bundles =
            self.ca_file.clone().map_or_else(|| BUNDLES.map(PathBuf::from).to_vec(), |file| vec![file]);
        let missing = |cause: &str| UpstreamError::Roots(cause.to_owned());
        let pem =
            bundles.iter().find_map(|path| fs::read(path).ok()).ok_or_else(|| missing("no such file"))?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        if roots.is_empty() {
            return Err(missing("the file has none"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| missing(&error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(config))))
    }
}

/// Sends a request on a fresh connection, which ends with the answer's body.
async fn send<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
    host: &str,
) -> Result<Response<Incoming>, UpstreamError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let http = |cause| UpstreamError::Http { host: host.to_owned(), cause };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a mirror's upstream ended");
        }
    });
    sender.send_request(request).await.map_err(http)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_redirects() {
        for (url, good) in [
            ("http://deb.example.org/debian", true),
            ("https://[::1]:8443/", true),
            ("ftp://a/", false),
            ("/debian", false),
            ("http://", false),
            ("http://user:word@a/", false),
            ("http://a/?b", false),
        ] {
            assert_eq!(Base::parse(url, &[]).is_ok(), good, "{url}");
        }
        let base = Base::parse("http://a.example/x/", &["cdn.example".to_owned()]).unwrap();
        let from = base.join("y").unwrap();
        assert_eq!(from, "http://a.example/x/y");
        for (location, expected) in [
            ("/z", Some("http://a.example/z")),
            ("http://A.example/z", Some("http://A.example/z")),
            ("https://a.example/z", Some("https://a.example/z")),
            ("//cdn.example/z", Some("http://cdn.example/z")),
            ("http://b.example/z", None),
            ("http://127.0.0.1/z", None),
            ("http://a.example:22/z", None),
            ("http://u@a.example/z", None),
            ("file:///etc/passwd", None),
            ("", None),
        ] {
            assert_eq!(
                base.redirect(&from, location).ok().map(|uri| uri.to_string()).as_deref(),
                expected,
                "{location}"
            );
        }
        let secure = Base::parse("https://a.example/", &[]).unwrap();
        assert!(secure.redirect(&secure.join("y").unwrap(), "http://a.example/y").is_err());
    }
}
