//! All options of a reply, into a datagram.

use std::borrow::Cow;

use super::Options;

/// Bytes of a message before its options, magic cookie included (RFC 2131 section 2).
pub const FIXED_PART: usize = 240;
/// Where the magic cookie lies, and what it is (RFC 2131 section 3).
pub const COOKIE: usize = 236;
/// See [`COOKIE`].
pub const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where `sname` and `file` lie, and how long they are (RFC 2131 section 2).
pub const SNAME: (usize, usize) = (44, 64);
/// See [`SNAME`].
pub const FILE: (usize, usize) = (108, 128);
/// RFC 2132 section 9.3.
pub const OVERLOAD: u8 = 52;
/// RFC 3046.
pub const RELAY_AGENT_INFORMATION: u8 = 82;
const PAD: u8 = 0;
const END: u8 = 255;
/// Never left away, and first: message type, server identifier, lease time, and what the client called itself (RFC 6842
/// section 3).
const FIRST: [u8; 4] = [53, 54, 51, 61];
/// Sent to boot firmware whether it asks for them or not: ROMs ask for less than they need. And the full name, to who told its own
/// (RFC 4702 section 4).
const UNASKED: [u8; 8] = [43, 60, 66, 67, 81, 97, 150, 175];
/// What is sent to everybody, asked for or not: netmask, router, name servers and the lease's times are what a lease is made of.
const ALWAYS: [u8; 8] = [1, 3, 6, 12, 15, 28, 58, 59];

/// What bounds a reply.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// What the client asks for, in its order (option 55); none: it did not say.
    pub requested: Option<&'a [u8]>,
    /// Bytes of the longest message that it takes.
    pub longest: usize,
    /// Bytes that the relay's option may make it longer by: the relay takes it off again.
    pub frame: usize,
}

/// A message with its options and `extra` ones, which beat those of the same number. `fixed` and `rest` are the message as it would
/// be without them. What does not fit is left away, what the client wants least first; the relay's option comes last.
pub fn write(fixed: &[u8; FIXED_PART], rest: &[u8], extra: &Options, limits: &Limits<'_>) -> Vec<u8> {
    let mut options: Vec<(u8, Cow<'_, [u8]>)> = Vec::with_capacity(32);
    for (code, part) in parts(rest) {
        match options.iter_mut().find(|(other, _)| *other == code) {
            Some((_, bytes)) => bytes.to_mut().extend_from_slice(part),
            None => options.push((code, Cow::Borrowed(part))),
        }
    }
    for (code, bytes) in extra.iter().map(|(code, bytes)| (*code, Cow::Borrowed(bytes.as_slice()))) {
        let asked = limits.requested.is_none_or(|list| list.contains(&code));
        if asked || UNASKED.contains(&code) || ALWAYS.contains(&code) {
            options.retain(|(other, _)| *other != code);
            options.push((code, bytes));
        }
    }
    options.sort_by_key(|(code, _)| *code);
    let relay = options.iter().position(|(code, _)| *code == RELAY_AGENT_INFORMATION);
    let relay = relay.map(|at| options.remove(at).1);
    let mut message = Message::new(fixed, limits.longest);
    // What must be there, then what the client asks for in its order, then the rest.
    let wanted = FIRST.iter().chain(limits.requested.unwrap_or_default()).chain(&UNASKED);
    let mut put = [false; 256];
    for code in wanted.copied().chain(options.iter().map(|(code, _)| *code)) {
        if std::mem::replace(&mut put[usize::from(code)], true) {
            continue;
        }
        if let Ok(at) = options.binary_search_by_key(&code, |(code, _)| *code) {
            message.put(code, &options[at].1);
        }
    }
    message.finish(relay.as_deref(), limits.frame)
}

/// The options of a message's last part, those that are divided put together again (RFC 3396 section 7).
pub fn collect(rest: &[u8]) -> Options {
    let mut options = Options::new();
    for (code, part) in parts(rest) {
        options.entry(code).or_default().extend_from_slice(part);
    }
    options
}

/// The options of a message's last part as they stand there, up to the end or to what is no option.
fn parts(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        loop {
            match rest {
                [PAD, behind @ ..] => rest = behind,
                [END, ..] | [] | [_] => return None,
                [code, length, behind @ ..] => {
                    let (part, behind) = behind.split_at_checked(usize::from(*length))?;
                    rest = behind;
                    return Some((*code, part));
                }
            }
        }
    })
}

/// A field that holds options.
#[derive(Debug, Default)]
struct Field {
    bytes: Vec<u8>,
    room: usize,
}

impl Field {
    /// Whether an option goes in, in parts of 255 bytes (RFC 3396 section 5), with an end behind it.
    fn put(&mut self, code: u8, data: &[u8]) -> bool {
        let parts = data.len().div_ceil(255).max(1);
        if self.bytes.len() + data.len() + 2 * parts + 1 > self.room {
            return false;
        }
        if data.is_empty() {
            self.bytes.extend([code, 0]);
        }
        for part in data.chunks(255) {
            // 255 at most: it is a chunk of that.
            self.bytes.extend([code, u8::try_from(part.len()).unwrap_or(u8::MAX)]);
            self.bytes.extend(part);
        }
        true
    }
}

struct Message {
    /// From the message's first byte on.
    main: Field,
    file: Field,
    sname: Field,
}

impl Message {
    fn new(fixed: &[u8; FIXED_PART], longest: usize) -> Self {
        let spare = |(at, length): (usize, usize)| {
            let field = fixed.get(at..at + length);
            let empty = field.is_some_and(|field| field.iter().all(|byte| *byte == 0));
            Field { bytes: Vec::new(), room: if empty { length } else { 0 } }
        };
        let mut bytes = Vec::with_capacity(2 * FIXED_PART);
        bytes.extend(fixed);
        // Three bytes are kept for the option that tells of the other fields.
        let main = Field { bytes, room: longest.saturating_sub(3) };
        Self { main, file: spare(FILE), sname: spare(SNAME) }
    }

    /// In the first field that has room (RFC 2131 section 4.1: options, then `file`, then `sname`); else nowhere.
    fn put(&mut self, code: u8, data: &[u8]) {
        let _ = self.main.put(code, data) || self.file.put(code, data) || self.sname.put(code, data);
    }

    fn finish(mut self, relay: Option<&[u8]>, frame: usize) -> Vec<u8> {
        let overloaded = u8::from(!self.file.bytes.is_empty()) | u8::from(!self.sname.bytes.is_empty()) << 1;
        let mut bytes = self.main.bytes;
        for ((at, _), field) in [(FILE, &mut self.file), (SNAME, &mut self.sname)] {
            if !field.bytes.is_empty() {
                field.bytes.push(END);
                if let Some(place) = bytes.get_mut(at..at + field.bytes.len()) {
                    place.copy_from_slice(&field.bytes);
                }
            }
        }
        if overloaded != 0 {
            bytes.extend([OVERLOAD, 1, overloaded]);
        }
        if let Some(relay) = relay.filter(|relay| bytes.len() + relay.len() + 3 <= frame) {
            for part in relay.chunks(255) {
                bytes.extend([RELAY_AGENT_INFORMATION, u8::try_from(part.len()).unwrap_or(u8::MAX)]);
                bytes.extend(part);
            }
        }
        bytes.push(END);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(options: &[u8], file: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED_PART];
        bytes[FILE.0..FILE.0 + file.len()].copy_from_slice(file);
        bytes.extend(options);
        bytes.push(END);
        bytes
    }

    fn written(encoded: &[u8], extra: &Options, limits: &Limits<'_>) -> Vec<u8> {
        let (fixed, rest) = encoded.split_first_chunk().expect("a fixed part");
        write(fixed, rest, extra, limits)
    }

    fn limits(longest: usize, requested: Option<&[u8]>) -> Limits<'_> {
        Limits { requested, longest, frame: 1472 }
    }

    /// Options of a message, wherever they are; and their order in the main field.
    fn read(bytes: &[u8]) -> (Options, Vec<u8>) {
        let mut options = collect(&bytes[FIXED_PART..]);
        let mut order = Vec::new();
        let mut rest = &bytes[FIXED_PART..];
        while let [code, length, tail @ ..] = rest {
            if *code == END {
                break;
            }
            order.push(*code);
            rest = &tail[usize::from(*length)..];
        }
        let overload = options.remove(&OVERLOAD).map_or(0, |value| value[0]);
        for (bit, (at, length)) in [(1, FILE), (2, SNAME)] {
            if overload & bit != 0 {
                for (code, data) in collect(&bytes[at..at + length]) {
                    options.entry(code).or_default().extend(data);
                }
            }
        }
        (options, order)
    }

    #[test]
    fn order_and_wishes() {
        let base = encoded(&[1, 4, 255, 255, 255, 0, 53, 1, 2, 54, 4, 10, 0, 0, 1], &[]);
        let extra: Options = [(42, vec![10, 0, 0, 2]), (26, vec![5, 220]), (67, b"x".to_vec())].into();
        for (rule, requested, expected) in [
            (
                "RFC 2131 4.3.1: what is asked for, in its order",
                Some(&[26, 1, 42][..]),
                vec![53, 54, 26, 1, 42, 67],
            ),
            ("what is not asked for is not sent", Some(&[1][..]), vec![53, 54, 1, 67]),
            ("who does not say gets all", None, vec![53, 54, 67, 1, 26, 42]),
        ] {
            let (_, order) = read(&written(&base, &extra, &limits(548, requested)));
            assert_eq!(order, expected, "{rule}");
        }
        let mtu: Options = [(1, vec![255, 0, 0, 0])].into();
        let (options, _) = read(&written(&base, &mtu, &limits(548, None)));
        assert_eq!(options[&1], [255, 0, 0, 0], "what is configured beats what is computed");
    }

    #[test]
    fn long_options_are_divided_and_overflow() {
        let base = encoded(&[53, 1, 2], &[]);
        let long: Options = [(224, vec![7; 600])].into();
        let bytes = written(&base, &long, &limits(1472, None));
        assert_eq!(read(&bytes).0[&224].len(), 600, "RFC 3396 5");
        assert_eq!(read(&bytes).1, [53, 224, 224, 224]);
        // RFC 2132 9.3: what has no room goes into file and sname, unless a boot file stands there.
        let some: Options = [(224, vec![1; 200]), (225, vec![2; 120]), (226, vec![3; 60])].into();
        let bytes = written(&base, &some, &limits(460, None));
        assert_eq!(read(&bytes).0.len(), 4);
        assert_eq!(collect(&bytes[FIXED_PART..])[&OVERLOAD], [3]);
        let bytes = written(&encoded(&[53, 1, 2], b"boot"), &some, &limits(460, None));
        assert_eq!(&bytes[FILE.0..FILE.0 + 5], b"boot\0");
        assert_eq!(
            read(&bytes).0.keys().copied().collect::<Vec<_>>(),
            [53, 224, 226],
            "the second does not fit"
        );
    }

    #[test]
    fn the_relays_option_is_last_and_costs_nothing() {
        let base = encoded(&[82, 3, 1, 1, 9, 53, 1, 2], &[]);
        let full: Options = [(224, vec![1; 200])].into();
        let bytes = written(&base, &full, &limits(450, None));
        assert_eq!(&bytes[bytes.len() - 6..], [82, 3, 1, 1, 9, END], "RFC 3046 2.2");
        let bytes = written(&base, &Options::new(), &Limits { frame: 246, ..limits(450, None) });
        assert_eq!(read(&bytes).1, [53], "left away whole");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            options in prop::collection::btree_map(1..=254_u8, prop::collection::vec(any::<u8>(), 1..300), 0..30),
            longest in 300..1472_usize,
            file in prop::collection::vec(any::<u8>(), 0..128),
        ) {
            let mut options = options;
            options.remove(&OVERLOAD);
            options.remove(&RELAY_AGENT_INFORMATION);
            let base = encoded(&[53, 1, 2], &file);
            options.remove(&53);
            let bytes = written(&base, &options, &limits(longest, None));
            prop_assert!(bytes.len() <= longest, "{} > {longest}", bytes.len());
            for (code, data) in read(&bytes).0 {
                prop_assert!(code == 53 || options[&code] == data, "option {code}");
            }
            let room = options.values().map(|data| data.len() + 2 * data.len().div_ceil(255)).sum::<usize>();
            if FIXED_PART + 3 + 3 + room < longest {
                prop_assert_eq!(read(&bytes).0.len(), options.len() + 1, "all of it fits");
            }
        }

        #[test]
        fn any_bytes_are_options(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = collect(&bytes);
            let _ = write(&[0; FIXED_PART], &bytes, &Options::new(), &limits(548, None));
        }
    }
}
