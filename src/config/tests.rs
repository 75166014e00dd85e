use std::path::Path;

use super::*;

const GOOD: &str = r#"
state_dir = "/var/lib/firstlight"
domain = "mgmt.example"

[[network]]
interface = "eth1"
subnet = "10.77.0.0/24"
ranges = ["10.77.0.100-10.77.0.200"]
gateway = "10.77.0.1"
dns = ["10.77.0.1"]
lease = "12h"
dhcp = "full"

[enrolment]
policy = "manual"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("firstlight.toml"))
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let config = parse(GOOD).expect("the example is valid");
    let [network] = config.networks.as_slice() else { panic!("one network") };
    assert_eq!(network.subnet.to_string(), "10.77.0.0/24");
    assert_eq!(network.subnet.mask().to_string(), "255.255.255.0");
    assert_eq!(network.subnet.broadcast().to_string(), "10.77.0.255");
    assert_eq!(network.lease.as_secs(), 43_200);
    assert_eq!(config.enrolment.unknown, Unknown::Wait);
}

#[test]
fn mistakes_are_named_with_their_place_and_a_way_out() {
    for (name, from, to, message) in [
        ("unknown key", "lease =", "leese =", "line 11: unknown key 'leese'; did you mean 'lease'?"),
        (
            "unknown table",
            "[enrolment]",
            "[enrollment]",
            "unknown key 'enrollment'; did you mean 'enrolment'?",
        ),
        ("nothing near", "domain =", "qqqqqqqqqq =", "valid keys here are"),
        ("not TOML", "domain = ", "domain ", "line 3: "),
        ("wrong type", "\"12h\"", "12", "line 11: invalid type"),
        ("host bits", "10.77.0.0/24", "10.77.0.1/24", "did you mean 10.77.0.0/24?"),
        ("no prefix", "10.77.0.0/24", "10.77.0.0", "write it as 10.77.0.0/24"),
        ("too small", "10.77.0.0/24", "10.77.0.0/31", "8 to 30 are possible"),
        ("range outside", "10.77.0.200", "10.77.1.200", "is not within"),
        ("range backwards", "10.77.0.200", "10.77.0.20", "ends before it starts"),
        ("gateway outside", "gateway = \"10.77.0.1\"", "gateway = \"10.78.0.1\"", "no host address"),
        ("lease too short", "12h", "1s", "lasts from 1m"),
        ("not a duration", "12h", "soon", "write it as 12h"),
        ("unknown policy", "manual", "trusting", "use manual, allowlist or automatic"),
        ("a list that is nowhere", "\"manual\"", "\"allowlist\"", "needs a file"),
        ("relays only, and no way to us", "interface = \"eth1\"\n", "", "no network has an interface"),
        ("no such mode", "\"full\"", "\"half\"", "use full, proxy or off"),
        ("ranges of another server", "\"full\"", "\"proxy\"", "another server gives addresses there"),
        ("an exclusion outside", "lease =", "exclude = [\"10.78.0.1\"]\nlease =", "is not within"),
        (
            "an option that is none",
            "lease =",
            "options = { ntp-server = \"x\" }\nlease =",
            "did you mean 'ntp-servers'?",
        ),
        (
            "a reservation of nobody",
            "lease =",
            "reservation = [{ ip = \"10.77.0.9\" }]\nlease =",
            "whose is 10.77.0.9?",
        ),
        (
            "a reservation outside",
            "lease =",
            "reservation = [{ ip = \"10.78.0.9\", mac = \"02:00:00:00:00:01\" }]\nlease =",
            "no host address",
        ),
        (
            "reserved twice",
            "lease =",
            "reservation = [{ ip = \"10.77.0.9\", mac = \"02:00:00:00:00:01\" }, { ip = \"10.77.0.9\", circuit_id = \"e1\" }]\nlease =",
            "is reserved for MAC 02:00:00:00:00:01 already",
        ),
        (
            "a switch without a port",
            "lease =",
            "reservation = [{ ip = \"10.77.0.9\", mac = \"02:00:00:00:00:01\", remote_id = \"sw1\" }]\nlease =",
            "which of its ports? add circuit_id",
        ),
        (
            "reserved twice for one port of one switch",
            "lease =",
            "reservation = [{ ip = \"10.77.0.9\", circuit_id = \"e1\", remote_id = \"sw1\" }, { ip = \"10.77.0.8\", circuit_id = \"e1\", remote_id = \"sw1\" }]\nlease =",
            "circuit id e1 of remote id sw1 has 10.77.0.9 already",
        ),
        (
            "a name server that is none",
            "[enrolment]",
            "[dns]\nforward = [\"x\"]\n[enrolment]",
            "not a name server",
        ),
        ("interface", "eth1", "eth1/../x", "not an interface name"),
        ("no ranges", "ranges =", "# ranges =", "has no addresses to give"),
    ] {
        refused(name, from, to, message);
    }
}

fn refused(name: &str, from: &str, to: &str, message: &str) {
    let text = GOOD.replace(from, to);
    assert_ne!(text, GOOD, "{name}: the row changes nothing");
    let error = parse(&text).expect_err(name).to_string();
    assert!(error.contains(message), "{name}: {error}");
}

#[test]
fn beside_another_server_options_are_for_booting() {
    for (options, wrong) in [
        (
            r#"boot-file-name = "own.efi", tftp-server-name = "10.77.0.9", root-path = "iscsi:10.77.0.9""#,
            None,
        ),
        (
            r#"vendor-encapsulated-options = { discovery-control = 3 }, tftp-server-address = "10.77.0.9""#,
            None,
        ),
        (r#"pxelinux-path-prefix = "/x/", ipxe-encapsulated-options = "010100", "224:text" = "own""#, None),
        (r#"boot-file-name = "own.efi", ntp-servers = "10.77.0.5""#, Some("ntp-servers")),
        (r#"routers = "10.77.0.1""#, Some("routers")),
        (r#""222:text" = "x""#, Some("222")),
    ] {
        // What holds for everybody may stand there: other networks give addresses.
        let text = format!(
            "[options]\nntp-servers = \"10.77.0.5\"\n[[network]]\ninterface = \"eth1\"\nsubnet = \"10.77.0.0/24\"\ndhcp = \"proxy\"\noptions = {{ {options} }}\n"
        );
        let told = parse(&text).map(|config| config.networks.len()).map_err(|error| error.to_string());
        match wrong {
            None => assert_eq!(told, Ok(1), "{options}"),
            Some(name) => {
                let told = told.expect_err(options);
                let why = format!("{name} belongs to the address, and another server gives that there");
                assert!(told.contains("network[0].options") && told.contains(&why), "{options}: {told}");
            }
        }
    }
}

#[test]
fn mirrors_that_cannot_work_are_refused() {
    for (name, from, to, message) in [
        (
            "a mirror of nothing",
            "[enrolment]",
            "[[mirror]]\nname = \"up\"\nkind = \"apt\"\nurl = \"htp://a/\"\n[enrolment]",
            "line 17: \"htp://a/\" is no usable URL of a mirror",
        ),
        (
            "a mirror twice",
            "[enrolment]",
            "[[mirror]]\nname = \"up\"\nkind = \"apt\"\nurl = \"http://a/\"\n[[mirror]]\nname = \"up\"\nkind = \"dnf\"\nurl = \"http://b/\"\n[enrolment]",
            "mirror[1].name: there is a mirror up already",
        ),
        (
            "paths of apt",
            "[enrolment]",
            "[[mirror]]\nname = \"up\"\nkind = \"apt\"\nurl = \"http://a/\"\npaths = [\"x\"]\n[enrolment]",
            "mirror[0].paths: they are for kind = \"dnf\"",
        ),
        (
            "a path that leads out",
            "[enrolment]",
            "[[mirror]]\nname = \"up\"\nkind = \"dnf\"\nurl = \"http://a/\"\npaths = [\"a/../b\"]\n[enrolment]",
            "'a/../b' is not a path below the URL",
        ),
        (
            "a mirror without a key",
            "[enrolment]",
            "[[mirror]]\nname = \"up\"\nkind = \"dnf\"\nurl = \"http://a/\"\npaths = [\"a\"]\n[enrolment]",
            "mirror[0].keyring: nodes need the key",
        ),
        (
            "a cache of nothing",
            "[enrolment]",
            "[mirrors]\ncache_gib = 0\n[enrolment]",
            "mirrors.cache_gib: there must be room",
        ),
        (
            "files above the cache",
            "[enrolment]",
            "[mirrors]\ncache_gib = 2\n[enrolment]",
            "4 GiB does not fit into a cache of 2 GiB",
        ),
    ] {
        refused(name, from, to, message);
    }
}

#[test]
fn two_networks_must_not_overlap() {
    let second = "[[network]]\nsubnet = \"10.77.0.128/25\"\ndhcp = \"off\"\n";
    let error = parse(&format!("{GOOD}\n{second}")).expect_err("overlap").to_string();
    assert!(error.contains("network[1].subnet: 10.77.0.128/25 overlaps with 10.77.0.0/24"), "{error}");
}

#[test]
fn mirrors_and_their_limits() {
    let tables = "[[mirror]]\nname = \"rocky\"\nkind = \"dnf\"\nurl = \"https://a.example/pub\"\nsuites = [\"el9\"]\n\
        paths = [\"9/BaseOS/x86_64/os\"]\nkeyring = \"/etc/pki/rpm-gpg/KEY\"\n[mirrors]\ncache_gib = 200\nfile_gib = 8\n\
        ca_file = \"/etc/ssl/own.pem\"\n";
    let config = parse(&format!("{GOOD}\n{tables}")).expect("it is valid");
    let settings = &config.mirror_settings;
    assert_eq!((settings.cache_bytes, settings.file_bytes), (200 << 30, 8 << 30));
    assert_eq!(settings.ca_file.as_deref(), Some(Path::new("/etc/ssl/own.pem")));
    assert_eq!(config.mirrors[0].paths, ["9/BaseOS/x86_64/os"]);
}
