//! Answers with a file, from memory or disk: whole or in part, or that the client has it (RFC 9110 sections 13, 14).

use std::io::{self, SeekFrom};

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use axum::http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use crate::http::range::{Wanted, wanted};

/// Bytes that are read from the disk at once.
const CHUNK: usize = 512 << 10;

/// Where the bytes are.
#[derive(Debug)]
pub enum Content {
    /// In memory.
    Memory(Bytes),
    /// On the disk, so many bytes.
    Disk(File, u64),
}

/// What the headers say.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The entity tag, without its quotes.
    pub etag: String,
    /// When it last changed, seconds since 1970.
    pub modified: Option<u64>,
    /// Whether the path will never hold other bytes.
    pub immutable: bool,
    /// The media type.
    pub media: &'static str,
}

/// The answer to a GET or HEAD.
///
/// # Errors
/// When the file cannot be read.
pub async fn answer(
    content: Content,
    about: &About,
    method: &Method,
    headers: &HeaderMap,
) -> io::Result<Response<Body>> {
    let size = match &content {
        Content::Memory(bytes) => bytes.len() as u64,
        Content::Disk(_, size) => *size,
    };
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let etag = format!("\"{}\"", about.etag);
    let cache = if about.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = Response::builder()
        .header(ETAG, &etag)
        .header(ACCEPT_RANGES, "bytes")
        .header(CACHE_CONTROL, cache)
        .header(CONTENT_TYPE, about.media);
    if let Some(date) = about.modified.and_then(http_date) {
        response = response.header(LAST_MODIFIED, date);
    }

    // Section 13.2.2: If-None-Match first; If-Modified-Since only without it.
    let weak_match = |list: &str| {
        list.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
    };
    let unchanged = match text(&IF_NONE_MATCH) {
        Some(list) => weak_match(list),
        None => text(&IF_MODIFIED_SINCE)
            .and_then(seconds)
            .is_some_and(|since| about.modified.is_some_and(|modified| modified <= since)),
    };
    if unchanged {
        return finish(response.status(StatusCode::NOT_MODIFIED), Body::empty());
    }
    // Section 13.1.5: a part of another version is of no use.
    let same = |tag: &str| tag == etag || seconds(tag).is_some_and(|time| about.modified == Some(time));
    let range = text(&RANGE).filter(|_| text(&IF_RANGE).is_none_or(same));
    let (first, length) = match wanted(range, size) {
        Wanted::Whole => (0, size),
        Wanted::Part { first, last } => {
            response = response
                .status(StatusCode::PARTIAL_CONTENT)
                .header(CONTENT_RANGE, format!("bytes {first}-{last}/{size}"));
            (first, last - first + 1)
        }
        Wanted::Unsatisfiable => {
            let response = response.status(StatusCode::RANGE_NOT_SATISFIABLE);
            return finish(response.header(CONTENT_RANGE, format!("bytes */{size}")), Body::empty());
        }
    };
    let response = response.header(CONTENT_LENGTH, length);
    if *method == Method::HEAD {
        return finish(response, Body::empty());
    }
    let body = match content {
        Content::Memory(bytes) => {
            let end = usize::try_from(first.saturating_add(length)).unwrap_or(usize::MAX).min(bytes.len());
            Body::from(bytes.slice(usize::try_from(first).unwrap_or(usize::MAX).min(end)..end))
        }
        Content::Disk(mut file, _) => {
            file.seek(SeekFrom::Start(first)).await?;
            file.set_max_buf_size(CHUNK);
            Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK))
        }
    };
    finish(response, body)
}

fn finish(response: axum::http::response::Builder, body: Body) -> io::Result<Response<Body>> {
    response.body(body).map_err(io::Error::other)
}

/// `Tue, 24 Nov 2026 00:00:00 GMT` (section 5.6.7).
pub fn http_date(seconds: u64) -> Option<String> {
    let time = Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
    DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()
}

/// Reads such a date.
pub fn seconds(date: &str) -> Option<u64> {
    let time = DateTimeParser::new().parse_timestamp(date).ok()?;
    u64::try_from(time.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conditions_and_ranges() {
        let about = About { etag: "abc".into(), modified: Some(1_000_000_000), ..About::default() };
        let (same, older) = ("Sun, 09 Sep 2001 01:46:40 GMT", "Sun, 09 Sep 2001 01:46:39 GMT");
        assert_eq!(http_date(1_000_000_000).as_deref(), Some(same));
        for (name, given, status, expected) in [
            ("plain", &[][..], 200, "0123456789"),
            ("same tag", &[("if-none-match", "\"abc\"")], 304, ""),
            ("other tag", &[("if-none-match", "\"abd\"")], 200, "0123456789"),
            ("not since", &[("if-modified-since", same)], 304, ""),
            ("changed since", &[("if-modified-since", older)], 200, "0123456789"),
            ("nonsense date", &[("if-modified-since", "yesterday")], 200, "0123456789"),
            (
                "tag wins over date",
                &[("if-none-match", "\"x\""), ("if-modified-since", same)],
                200,
                "0123456789",
            ),
            ("part", &[("range", "bytes=2-4")], 206, "234"),
            ("part if date", &[("range", "bytes=8-"), ("if-range", same)], 206, "89"),
            ("part of another version", &[("range", "bytes=8-"), ("if-range", older)], 200, "0123456789"),
            ("beyond", &[("range", "bytes=10-")], 416, ""),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.insert(*name, value.parse().unwrap());
            }
            let content = Content::Memory(Bytes::from_static(b"0123456789"));
            let response = answer(content, &about, &Method::GET, &headers).await.unwrap();
            assert_eq!(response.status(), status, "{name}");
            let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
            assert_eq!(body, expected, "{name}");
        }
    }
}
