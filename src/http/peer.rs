//! Who may use the admin API: peer credentials of the Unix socket (unix(7), `SO_PEERCRED`).

use tokio::net::UnixStream;

use crate::appliance::Actor;

/// Members of this group may administer, beside root and the user that the appliance runs as.
const GROUP: &str = "firstlight";

/// The administrator behind a connection.
///
/// # Errors
/// A line that says who was refused, and who is not.
pub fn administrator(stream: &UnixStream) -> Result<Actor, String> {
    let credentials =
        stream.peer_cred().map_err(|error| format!("the system does not tell who you are: {error}"))?;
    let (uid, gid) = (credentials.uid(), credentials.gid());
    let own = nix::unistd::geteuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = field(&passwd, |fields| fields.get(2).and_then(|text| text.parse().ok()) == Some(uid), 0);
    if uid == 0 || uid == own || in_group(gid, name.as_deref()) {
        Ok(Actor(name.unwrap_or_else(|| format!("uid {uid}"))))
    } else {
        Err(format!("uid {uid} may not administer; run this as root, or join the group '{GROUP}'"))
    }
}

fn in_group(gid: u32, user: Option<&str>) -> bool {
    // Read from the file: the C library's look-up needs shared objects that a static program has not.
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let is_it = |fields: &[&str]| fields.first() == Some(&GROUP);
    let number = field(&groups, is_it, 2).and_then(|text| text.parse::<u32>().ok());
    let members = field(&groups, is_it, 3).unwrap_or_default();
    number == Some(gid) || user.is_some_and(|user| members.split(',').any(|member| member == user))
}

/// Field `wanted` of the first line of a passwd(5) or group(5) file that fits.
fn field(file: &str, fits: impl Fn(&[&str]) -> bool, wanted: usize) -> Option<String> {
    file.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        fields.get(wanted).filter(|_| fits(&fields)).map(|text| (*text).to_owned())
    })
}
