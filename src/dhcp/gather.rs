//! The options of a client's message: gathered from wherever they stand, and of them those that are used here.

use dhcproto::v4::{DhcpOption, OptionCode, UnknownOption};

use super::options::write::{FILE, FIXED_PART, OVERLOAD, RELAY_AGENT_INFORMATION, SNAME, collect};
use super::options::{Options, VENDOR_OPTIONS, pxe};

const END: u8 = 255;
/// RFC 4702.
const FQDN: u8 = 81;
/// The longest value that dhcproto reads: it takes an option that stands in parts for several, the last one counting.
const LONGEST_PART: usize = 255;

/// A client's message, made ready for dhcproto.
#[derive(Debug)]
pub struct Gathered {
    /// The message with the options that dhcproto can read.
    pub message: Vec<u8>,
    /// What it cannot: values longer than one option holds; and the relay's option, which goes back as it came (RFC 3046
    /// section 2.2), while dhcproto would sort its sub-options, lose one that stands twice, and end at one it cannot read.
    pub beside: Vec<(OptionCode, DhcpOption)>,
    /// The flags of the client's full name (option 81, RFC 4702 section 2.1).
    pub fqdn: Option<u8>,
    /// The line of a boot menu that the client chose (option 43, PXE specification 2.1, table 2-1, tag 71), should it be a PXE client.
    pub boot_item: Option<[u8; 4]>,
}

/// Gathers a message's options, each of them whole (RFC 3396 section 7), and keeps those that are used here, each of a length
/// that fits its code.
///
/// dhcproto 0.15 must not see the rest: it panics on a route (option 121) with a prefix longer than 32 and on options
/// 94, 81 and 151 that are too short, and it reads fixed-size options without regard to their length, so that one
/// that is longer (93 may hold several architectures) throws it out of step.
pub fn gather(bytes: &[u8]) -> Gathered {
    let (fixed, rest) = bytes.split_at(bytes.len().min(FIXED_PART));
    let mut gathered = Gathered { message: fixed.to_vec(), beside: Vec::new(), fqdn: None, boot_item: None };
    for (code, data) in everywhere(fixed, rest) {
        if code == RELAY_AGENT_INFORMATION {
            let code = OptionCode::RelayAgentInformation;
            gathered.beside.push((code, DhcpOption::Unknown(UnknownOption::new(code, data))));
        } else if code == FQDN {
            // Two bytes of codes follow its flags.
            gathered.fqdn = data.first().copied().filter(|_| data.len() >= 3);
        } else if code == VENDOR_OPTIONS {
            gathered.boot_item = pxe::boot_item(&data);
        } else if let Some(data) = fitting(code, &data) {
            match u8::try_from(data.len()) {
                Ok(length) => {
                    gathered.message.extend([code, length]);
                    gathered.message.extend(data);
                }
                Err(_) => gathered.beside.extend(long(code, data)),
            }
        }
    }
    gathered.message.push(END);
    gathered
}

/// All options: of their own field, then of `file`, then of `sname`, where option 52 says that these hold some (RFC 2131
/// section 4.1, RFC 2132 section 9.3). In that order the parts of one belong together (RFC 3396 section 7).
fn everywhere(fixed: &[u8], rest: &[u8]) -> Options {
    let mut options = collect(rest);
    let overload = options.remove(&OVERLOAD).and_then(|value| value.first().copied()).unwrap_or(0);
    for (bit, (at, length)) in [(1, FILE), (2, SNAME)] {
        if overload & bit != 0 {
            for (code, data) in collect(fixed.get(at..at + length).unwrap_or_default()) {
                options.entry(code).or_default().extend(data);
            }
        }
    }
    options
}

/// What of an option's value is read here, if anything. Of a value with a fixed size that stands twice the first counts.
fn fitting(code: u8, data: &[u8]) -> Option<&[u8]> {
    match code {
        // Message type.
        53 => data.get(..1),
        // Requested address, server identifier.
        50 | 54 => data.get(..4),
        // Longest message; client architecture: the first counts (RFC 4578 section 2.1).
        57 | 93 => data.get(..2),
        // Parameter request list, vendor class, client identifier, user class, machine identifier, iPXE's own.
        55 | 60 | 61 | 77 | 97 | 175 => (!data.is_empty()).then_some(data),
        // Host name: dhcproto stops at one that is not UTF-8. More than this of it is not kept.
        12 => {
            Some(data.get(..LONGEST_PART).unwrap_or(data)).filter(|name| !name.is_empty() && name.is_ascii())
        }
        _ => None,
    }
}

/// An option whose value is longer than one option holds.
fn long(code: u8, data: &[u8]) -> Option<(OptionCode, DhcpOption)> {
    let data = data.to_vec();
    let option = match code {
        55 => DhcpOption::ParameterRequestList(data.into_iter().map(OptionCode::from).collect()),
        60 => DhcpOption::ClassIdentifier(data),
        61 => DhcpOption::ClientIdentifier(data),
        77 => DhcpOption::UserClass(data),
        97 => DhcpOption::ClientMachineIdentifier(data),
        175 => DhcpOption::Unknown(UnknownOption::new(OptionCode::Unknown(code), data)),
        _ => return None,
    };
    Some((OptionCode::from(code), option))
}
