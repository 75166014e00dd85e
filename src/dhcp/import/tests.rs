//! Files as the servers write them, and broken ones.

use proptest::prelude::*;

use super::*;

fn told(found: &Found) -> (Vec<String>, Vec<String>) {
    let lease = |lease: &Imported| {
        let name = lease.hostname.as_deref().unwrap_or("-");
        let until = match (lease.reserved, lease.expires) {
            (true, _) => "reserved".into(),
            (false, Some(until)) => until.to_string(),
            (false, None) => "for ever".into(),
        };
        format!("{} {} {name} {until}", lease.ip, lease.mac)
    };
    let problem = |problem: &Problem| format!("{}: {}", problem.line, problem.message);
    (found.leases.values().map(lease).collect(), found.problems.iter().map(problem).collect())
}

#[test]
fn dnsmasq_writes() {
    let text = "1764000000 52:54:00:00:00:01 10.77.0.101 web1 01:52:54:00:00:00:01\n\
                0 52:54:00:00:00:02 10.77.0.102 * *\n\
                nonsense\n\
                1764000000 52:54:00:00:00 10.77.0.103 x *\n\
                dhcp-range=10.77.0.100,10.77.0.200\n\
                dhcp-host=52:54:00:00:00:04,10.77.0.4,db1,infinite\n\
                dhcp-host=52:54:00:00:00:05,web\n\
                dhcp-host=id:1234,10.77.0.6\n\
                duid 00:01\n1764000000 1 fd00::1 x 00:01\n";
    let (leases, problems) = told(&dnsmasq::read(text));
    assert_eq!(
        leases,
        [
            "10.77.0.4 52:54:00:00:00:04 db1 reserved",
            "10.77.0.101 52:54:00:00:00:01 web1 1764000000",
            "10.77.0.102 52:54:00:00:00:02 - for ever",
        ]
    );
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("4: ") && problems[1].starts_with("8: 10.77.0.6"), "{problems:?}");
}

#[test]
fn kea_writes() {
    let text = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id\n\
                10.77.0.100,52:54:00:00:00:01,01:52,3600,1764000000,1,0,0,a&#x2cb.,0,,0\n\
                10.77.0.100,52:54:00:00:00:01,01:52,3600,1764003600,1,0,0,a,0,,0\n\
                10.77.0.101,52:54:00:00:00:02,,3600,1764000000,1,0,0,,0,,0\n\
                10.77.0.101,52:54:00:00:00:02,,0,1764000000,1,0,0,,0,,0\n\
                10.77.0.102,,,3600,1764000000,1,0,0,,1,,0\n\
                10.77.0.103,,,3600,1764000000,1,0,0,,0,,0\n\
                10.77.0.104,52:54:00:00:00:05,,4294967295,4294967295,1,0,0,,0,,0\n";
    let (leases, problems) = told(&kea::read(text));
    assert_eq!(
        leases,
        ["10.77.0.100 52:54:00:00:00:01 a 1764003600", "10.77.0.104 52:54:00:00:00:05 - for ever"]
    );
    assert_eq!(problems, ["7: 10.77.0.103 has no hardware address: ''"]);
    let text = "// Kea\n{ \"Dhcp4\": { # comment\n \"subnet4\": [ { \"reservations\": [\n /* two */ { \"hw-address\": \"52:54:00:00:00:07\", \
                \"ip-address\": \"10.77.0.7\", \"hostname\": \"a//b\" },\n { \"duid\": \"01\", \"ip-address\": \"10.77.0.8\" } ] } ] } }";
    let (leases, problems) = told(&kea::read(text));
    assert_eq!(leases, ["10.77.0.7 52:54:00:00:00:07 a//b reserved"]);
    assert_eq!(problems.len(), 1);
    assert_eq!(
        told(&kea::read("a,b\n1,2\n")).1,
        ["1: there is no column 'address'; is this a lease file of kea-dhcp4?"]
    );
}

#[test]
fn isc_writes() {
    let text = "# The format of this file is documented in the dhcpd.leases(5) manual page.\n\
                server-duid \"\\000\\001\\\"{\";\n\
                lease 10.77.0.100 {\n  starts 2 2026/11/24 05:00:00;\n  ends 2 2026/11/24 06:00:00;\n  binding state active;\n  \
                hardware ethernet 52:54:00:00:00:01;\n  uid \"\\001RT\\000\\000\\000\\001\";\n  client-hostname \"web1\";\n}\n\
                lease 10.77.0.101 {\n  ends never;\n  binding state active;\n  hardware ethernet 52:54:00:00:00:02;\n}\n\
                lease 10.77.0.101 {\n  ends epoch 1764000000; # now\n  binding state free;\n}\n\
                lease 10.77.0.102 {\n  ends epoch 1764000000;\n  binding state active;\n  hardware ethernet 52:54:00:00:00:03;\n}\n\
                subnet 10.77.0.0 netmask 255.255.255.0 {\n  host db1 {\n    hardware ethernet 52:54:00:00:00:04;\n    fixed-address 10.77.0.4;\n  }\n}\n\
                host named { hardware ethernet 52:54:00:00:00:05; fixed-address db2.example; }\n\
                lease 10.77.0.200 {\n";
    let (leases, problems) = told(&isc::read(text));
    assert_eq!(
        leases,
        [
            "10.77.0.4 52:54:00:00:00:04 db1 reserved",
            "10.77.0.100 52:54:00:00:00:01 web1 1795500000",
            "10.77.0.102 52:54:00:00:00:03 - 1764000000",
        ]
    );
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].contains("names are not looked up") && problems[1].contains("ends in the middle"),
        "{problems:?}"
    );
}

/// What is not by MAC is told as the configuration takes it.
#[test]
fn reservations_by_something_else_than_a_mac() {
    let kea = r#"{ "reservations": [
        { "client-id": "01:aa:bb", "ip-address": "10.77.0.6", "hostname": "db1" },
        { "circuit-id": "'eth 1/12'", "ip-address": "10.77.0.7" },
        { "flex-id": "x", "ip-address": "10.77.0.8" } ] }"#;
    let isc = "host a { option dhcp-client-identifier \"\\000rack-1\"; fixed-address 10.77.0.6; }\n\
               host b { option dhcp-client-identifier 1:2:ff; fixed-address 10.77.0.7; }\n\
               host c { host-identifier option agent.circuit-id \"e12\"; fixed-address 10.77.0.8; }\n";
    for (name, found, expected, others) in [
        (
            "dnsmasq",
            dnsmasq::read(
                "dhcp-host=id:01:aa,10.77.0.6,db1\ndhcp-host=id:rack,10.77.0.7\ndhcp-host=x,10.77.0.8\n",
            ),
            &[
                r#"{ client_id = "0x01aa", ip = "10.77.0.6", name = "db1" }"#,
                r#"{ client_id = "rack", ip = "10.77.0.7" }"#,
            ][..],
            1,
        ),
        (
            "kea",
            kea::read(kea),
            &[
                r#"{ client_id = "0x01aabb", ip = "10.77.0.6", name = "db1" }"#,
                r#"{ circuit_id = "eth 1/12", ip = "10.77.0.7" }"#,
            ],
            1,
        ),
        (
            "isc",
            isc::read(isc),
            &[
                r#"{ client_id = "0x007261636b2d31", ip = "10.77.0.6", name = "a" }"#,
                r#"{ client_id = "0x0102ff", ip = "10.77.0.7", name = "b" }"#,
                r#"{ circuit_id = "e12", ip = "10.77.0.8", name = "c" }"#,
            ],
            0,
        ),
    ] {
        assert_eq!(found.configure, expected, "{name}");
        assert_eq!(found.problems.len(), expected.len() + others, "{name}: {:?}", found.problems);
        assert!(found.leases.is_empty(), "{name}");
    }
}

/// Blocks within a lease or a host, as dhcpd writes them for its own events (dhcpd.leases(5)).
#[test]
fn blocks_within_blocks_of_isc() {
    let text = "lease 10.77.0.100 {\n  on expiry {\n    if known { log(\"x\"); }\n    hardware ethernet 52:54:00:00:00:99;\n  }\n  \
                binding state active;\n  ends never;\n  hardware ethernet 52:54:00:00:00:01;\n}\n\
                group { host h { if exists x { fixed-address 10.77.0.9; } hardware ethernet 52:54:00:00:00:02; \
                fixed-address 10.77.0.2; } }\n\
                lease 10.77.0.101 {\n  on commit {\n\
                lease 10.77.0.102 {\n  binding state active;\n  hardware ethernet 52:54:00:00:00:03;\n}\n";
    let (leases, problems) = told(&isc::read(text));
    assert_eq!(
        leases,
        [
            "10.77.0.2 52:54:00:00:00:02 h reserved",
            "10.77.0.100 52:54:00:00:00:01 - for ever",
            "10.77.0.102 52:54:00:00:00:03 - for ever",
        ]
    );
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].ends_with("another block begins in the middle of this one"), "{problems:?}");
}

proptest! {
    #[test]
    fn any_text_is_read(text in "[ -~\n{};\"\\\\#/*,:]{0,300}") {
        for found in [dnsmasq::read(&text), kea::read(&text), isc::read(&text), kea::read(&format!("{{{text}"))] {
            prop_assert!(found.problems.len() <= PROBLEMS);
        }
    }
}
