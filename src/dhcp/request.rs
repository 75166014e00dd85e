//! A DHCP message from a client, read once into what matters.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder};
use thiserror::Error;

use crate::boot::ClientKind;
use crate::model::{ClientKey, MacAddr};

use super::gather::{Gathered, gather};
use super::options::write::{COOKIE, FIXED_PART, MAGIC_COOKIE};
use super::relay::RelayAgent;

/// The longest message that is taken: an Ethernet frame's worth.
pub const LONGEST: usize = 1500;
/// IPv4 and UDP headers, which option 57 counts in.
const HEADERS: u16 = 28;
/// What every client takes (RFC 2131 section 2), and the least that option 57 may say (RFC 2132 section 9.10).
const LEAST: u16 = 576;
/// What fits into an Ethernet frame.
const MOST: u16 = 1500;
/// Hops after which a message is dropped (RFC 1542 section 4.1.1).
const HOPS: u8 = 16;

/// Why a message is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Shorter than the fixed part, or longer than a frame.
    #[error("a length that no DHCP message has")]
    Length,
    /// Not from a client.
    #[error("not a BOOTREQUEST")]
    NotARequest,
    /// Not Ethernet, or an address that no client has.
    #[error("not an Ethernet client's hardware address")]
    Hardware,
    /// BOOTP, or something else.
    #[error("no DHCP magic cookie")]
    Cookie,
    /// Passed on too often.
    #[error("more relay hops than RFC 1542 allows")]
    Hops,
    /// dhcproto cannot read it.
    #[error("malformed")]
    Malformed,
    /// BOOTP.
    #[error("no message type (option 53)")]
    NoMessageType,
}

/// How a message reached us. A client that renews sends it to us, maybe through routers, one that rebinds to everybody on its link
/// (RFC 2131 section 4.3.2); nothing in the message itself tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cast {
    /// Sent to an address of ours.
    Unicast,
    /// Sent to everybody on a link.
    #[default]
    Broadcast,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its hardware address.
    pub mac: MacAddr,
    /// What it says it is.
    pub kind: ClientKind,
    /// Its SMBIOS UUID (option 97), hyphenated.
    pub uuid: Option<String>,
    /// Its host name (option 12), printable characters only.
    pub hostname: Option<String>,
    /// Its client identifier (option 61).
    pub client_id: Option<Vec<u8>>,
    /// What the relay says of it (option 82).
    pub relay: RelayAgent,
    /// Whether a relay passed the message on, so that option 82 is the relay's word; else a switch's, or the client's own.
    pub relayed: bool,
    /// The flags of its full name (option 81, RFC 4702 section 2.1).
    pub fqdn: Option<u8>,
    /// The line of a boot menu that it chose (PXE specification 2.1, table 2-1, tag 71): type and layer.
    pub boot_item: Option<[u8; 4]>,
}

impl Client {
    /// All by which it may be told from others, in the order in which they count. `uuid` is its own, or what is known of it; `port`: whether
    /// what option 82 says of it is to be believed.
    pub fn keys(&self, uuid: Option<String>, port: bool) -> Vec<ClientKey> {
        let mut keys = vec![ClientKey::Mac(self.mac)];
        keys.extend(self.client_id.clone().map(ClientKey::ClientId));
        keys.extend(uuid.map(ClientKey::Uuid));
        if let Some(circuit_id) = self.relay.circuit_id.clone().filter(|_| port) {
            let switch = self.relay.remote_id.clone();
            let circuit = circuit_id.clone();
            keys.extend(switch.map(|remote_id| ClientKey::SwitchPort { circuit_id: circuit, remote_id }));
            keys.push(ClientKey::CircuitId(circuit_id));
        }
        keys
    }
}

/// A message that was found to be a client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it wants.
    pub message_type: MessageType,
    /// Who asks.
    pub client: Client,
    /// How it came; [`Cast::Broadcast`] until [`Request::sent`] says otherwise.
    pub cast: Cast,
    /// The message, for what the reply copies.
    pub message: Message,
}

impl Request {
    /// Reads a datagram.
    ///
    /// # Errors
    /// When it is no DHCP message of an Ethernet client.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        if !(FIXED_PART..=LONGEST).contains(&bytes.len()) {
            return Err(RequestError::Length);
        }
        // Before decoding: dhcproto's `chaddr` slices by `hlen` unchecked.
        if bytes.get(1..3) != Some(&[1, 6]) {
            return Err(RequestError::Hardware);
        }
        if bytes.get(COOKIE..FIXED_PART) != Some(&MAGIC_COOKIE) {
            return Err(RequestError::Cookie);
        }
        let Gathered { message, beside, fqdn, boot_item } = gather(bytes);
        let mut message =
            Message::decode(&mut Decoder::new(&message)).map_err(|_| RequestError::Malformed)?;
        if !beside.is_empty() {
            message.set_opts(message.opts().clone().into_iter().chain(beside).collect());
        }
        let mut request = Self::new(message)?;
        request.client.fqdn = fqdn;
        // What option 43 says depends on the class (RFC 2132 section 8.4).
        let is_pxe = bytes_of(&request.message, OptionCode::ClassIdentifier).starts_with(b"PXEClient");
        request.client.boot_item = boot_item.filter(|_| is_pxe);
        Ok(request)
    }

    /// Checks a decoded message.
    ///
    /// # Errors
    /// When it is no client's.
    pub fn new(message: Message) -> Result<Self, RequestError> {
        if message.opcode() != Opcode::BootRequest {
            return Err(RequestError::NotARequest);
        }
        if message.htype() != HType::Eth || message.hlen() != 6 {
            return Err(RequestError::Hardware);
        }
        if message.hops() > HOPS {
            return Err(RequestError::Hops);
        }
        let mac = <[u8; 6]>::try_from(message.chaddr()).map(MacAddr).map_err(|_| RequestError::Hardware)?;
        if !mac.is_client() {
            return Err(RequestError::Hardware);
        }
        let message_type = message.opts().msg_type().ok_or(RequestError::NoMessageType)?;
        let client = Client {
            mac,
            kind: kind(&message),
            uuid: uuid(&message),
            hostname: hostname(&message),
            client_id: client_id(&message),
            relay: relay(&message),
            relayed: !message.giaddr().is_unspecified(),
            fqdn: None,
            boot_item: None,
        };
        Ok(Self { message_type, client, cast: Cast::default(), message })
    }

    /// The same, as it came.
    #[must_use]
    pub fn sent(self, cast: Cast) -> Self {
        Self { cast, ..self }
    }

    /// The address it asks for (option 50).
    pub fn requested_ip(&self) -> Option<Ipv4Addr> {
        match self.message.opts().get(OptionCode::RequestedIpAddress) {
            Some(DhcpOption::RequestedIpAddress(ip)) => Some(*ip),
            _ => None,
        }
    }

    /// Bytes of the longest message that it takes (option 57), headers not counted.
    pub fn longest_reply(&self) -> usize {
        let datagram = match self.message.opts().get(OptionCode::MaxMessageSize) {
            Some(DhcpOption::MaxMessageSize(bytes)) => (*bytes).clamp(LEAST, MOST),
            _ => LEAST,
        };
        usize::from(datagram - HEADERS)
    }

    /// The options that it asks for, in its order (option 55).
    pub fn requested_options(&self) -> Option<Vec<u8>> {
        match self.message.opts().get(OptionCode::ParameterRequestList) {
            Some(DhcpOption::ParameterRequestList(codes)) => {
                Some(codes.iter().map(|code| u8::from(*code)).collect())
            }
            _ => None,
        }
    }

    /// The server it speaks to (option 54).
    pub fn server_identifier(&self) -> Option<Ipv4Addr> {
        match self.message.opts().get(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(ip)) => Some(*ip),
            _ => None,
        }
    }
}

/// An option's bytes, for those that dhcproto leaves as bytes.
fn bytes_of(message: &Message, code: OptionCode) -> &[u8] {
    match message.opts().get(code) {
        Some(
            DhcpOption::ClassIdentifier(data)
            | DhcpOption::UserClass(data)
            | DhcpOption::ClientMachineIdentifier(data),
        ) => data,
        Some(DhcpOption::Unknown(option)) => option.data(),
        _ => &[],
    }
}

fn kind(message: &Message) -> ClientKind {
    let class = bytes_of(message, OptionCode::ClassIdentifier);
    let architecture = match message.opts().get(OptionCode::ClientSystemArchitecture) {
        Some(DhcpOption::ClientSystemArchitecture(code)) => Some(code.0),
        // "PXEClient:Arch:00007:UNDI:003016" (PXE specification 2.1, table 2-1), for who leaves option 93 out.
        _ => class.get(15..20).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()),
    };
    // The user class is length-prefixed (RFC 3004) or, from iPXE, bare.
    let user_class = bytes_of(message, OptionCode::UserClass);
    let is_ipxe = user_class == b"iPXE"
        || user_class == b"\x04iPXE"
        || message.opts().contains(OptionCode::Unknown(175));
    match architecture {
        code if is_ipxe => ClientKind::Ipxe(code),
        Some(code) if class.starts_with(b"PXEClient") => ClientKind::Pxe(code),
        Some(code) if class.starts_with(b"HTTPClient") => ClientKind::HttpBoot(code),
        _ => ClientKind::Other(printable(class)),
    }
}

/// Option 97, type 0: a GUID as SMBIOS has it, its first three fields little-endian (RFC 4578 section 2.3; SMBIOS
/// specification 3.6, section 7.2.1), as `dmidecode` and `/sys/class/dmi/id/product_uuid` show it.
fn uuid(message: &Message) -> Option<String> {
    let [0, guid @ ..] = bytes_of(message, OptionCode::ClientMachineIdentifier) else { return None };
    let mut guid: [u8; 16] = guid.try_into().ok()?;
    // Firmware that was never given one.
    if guid == [0; 16] || guid == [0xff; 16] {
        return None;
    }
    for little_endian in [0..4, 4..6, 6..8] {
        guid.get_mut(little_endian)?.reverse();
    }
    let digits = hex::encode(guid);
    let fields = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part).unwrap_or_default());
    Some(fields.join("-"))
}

/// RFC 2132 section 9.14: two bytes at least.
fn client_id(message: &Message) -> Option<Vec<u8>> {
    match message.opts().get(OptionCode::ClientIdentifier) {
        Some(DhcpOption::ClientIdentifier(id)) if id.len() >= 2 => Some(id.clone()),
        _ => None,
    }
}

/// A switch may tell the port without being a relay (DHCP snooping); links and servers only a relay has a say in.
fn relay(message: &Message) -> RelayAgent {
    let told = RelayAgent::parse(bytes_of(message, OptionCode::RelayAgentInformation));
    if message.giaddr().is_unspecified() { RelayAgent { link: None, server: None, ..told } } else { told }
}

fn hostname(message: &Message) -> Option<String> {
    match message.opts().get(OptionCode::Hostname) {
        Some(DhcpOption::Hostname(name)) => Some(printable(name.as_bytes())).filter(|name| !name.is_empty()),
        _ => None,
    }
}

/// At most 63 printable ASCII characters; what is not is left out.
pub(crate) fn printable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .filter(|byte| byte.is_ascii_graphic() || **byte == b' ')
        .take(63)
        .map(|byte| char::from(*byte))
        .collect()
}
