//! Lines as they come, and as they should not.

use proptest::prelude::*;

use super::*;

#[test]
fn lines_of_real_senders() {
    use Severity::{Critical, Debug, Info, Notice, Warning};
    for (name, datagram, facility, severity, host, app, message) in [
        (
            "iPXE with a name",
            "<14>n1.lab ipxe: Booting from SAN",
            1,
            Info,
            "n1.lab",
            "ipxe",
            "Booting from SAN",
        ),
        ("iPXE before DHCP", "<14>ipxe: net0: link up", 1, Info, "", "ipxe", "net0: link up"),
        (
            "RFC 3164, example 1",
            "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
            4,
            Critical,
            "mymachine",
            "su",
            "'su root' failed for lonvick on /dev/pts/8",
        ),
        ("RFC 3164, example 2: no header", "Use the BFG!", 1, Notice, "", "", "Use the BFG!"),
        ("day of one digit, process id", "<30>Nov  3 08:01:02 n1 sshd[77]: hi", 3, Info, "n1", "sshd", "hi"),
        ("no host", "<13>Nov 23 18:44:16 root: hello", 1, Notice, "", "root", "hello"),
        ("no tag", "<13>Nov 23 18:44:16 n1 it is done", 1, Notice, "n1", "", "it is done"),
        ("newer timestamp", "<13>2026-11-23T18:44:16.1+00:00 n1 x: y", 1, Notice, "n1", "x", "y"),
        (
            "a kernel",
            "<6>kernel: [    0.000000] Linux version 6",
            0,
            Info,
            "",
            "kernel",
            "[    0.000000] Linux version 6",
        ),
        ("bare text of two words", "<13>Loading foo: done", 1, Notice, "", "", "Loading foo: done"),
        (
            "RFC 5424, example 1",
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed",
            4,
            Critical,
            "mymachine.example.com",
            "su",
            "'su root' failed",
        ),
        (
            "RFC 5424 with data",
            r#"<165>1 2003-10-11T22:14:15.003Z h app 1 ID [a x="]\"["][b y="1"] An event"#,
            20,
            Notice,
            "h",
            "app",
            "An event",
        ),
        ("RFC 5424, data only", r#"<165>1 - - - - - [a x="1"]"#, 20, Notice, "", "", r#"[a x="1"]"#),
        ("RFC 5424, all nil", "<15>1 - - - - - -", 1, Debug, "", "", ""),
        ("RFC 5424 cut short", "<12>1 - n1 app", 1, Warning, "", "", "1 - n1 app"),
        ("no such priority", "<192>ipxe: x", 1, Notice, "", "", "<192>ipxe: x"),
        ("padded priority", "<00>x", 1, Notice, "", "", "<00>x"),
        ("no end of the priority", "<13 hello", 1, Notice, "", "", "<13 hello"),
        ("colours", "<13>a: \u{1b}[1;31mred\u{1b}[0m end\r\n\0", 1, Notice, "", "a", "red end"),
        ("lines in a line", "<13>a: one\ntwo\tthree", 1, Notice, "", "a", "one two three"),
        ("turned round", "<13>a: \u{202e}txt.exe", 1, Notice, "", "a", "txt.exe"),
        ("nothing", "", 1, Notice, "", "", ""),
    ] {
        let some = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        let want = Line { facility, severity, host: some(host), app: some(app), message: message.into() };
        assert_eq!(parse(datagram.as_bytes()), want, "{name}");
    }
}

#[test]
fn a_long_line_is_cut_and_broken_utf8_is_shown_as_such() {
    let line = parse(format!("<13>a: {}", "é".repeat(5000)).as_bytes());
    assert_eq!(line.message.chars().count(), MESSAGE_CHARS);
    assert_eq!(parse(b"<13>a: x\xff").message, "x\u{fffd}");
}

fn is_fit(line: &Line) -> bool {
    let fits =
        |text: &str, chars: usize| text.chars().count() <= chars && !text.chars().any(char::is_control);
    fits(&line.message, MESSAGE_CHARS)
        && line.facility <= 23
        && line.host.as_ref().is_none_or(|host| fits(host, HOST_CHARS) && !host.is_empty())
        && line.app.as_ref().is_none_or(|app| fits(app, APP_CHARS) && !app.is_empty())
}

proptest! {
    #[test]
    fn any_bytes_are_a_line(datagram in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(is_fit(&parse(&datagram)));
    }

    #[test]
    fn any_words_behind_a_priority_are_a_line(
        datagram in r#"<[0-9]{1,3}>(1 |1 - |1 - - - - - |Nov 23 18:44:16 )?([\[\]"\\:\x1b a-c\u{e9}\u{202e}\n-]{0,700})"#
    ) {
        prop_assert!(is_fit(&parse(datagram.as_bytes())));
    }
}
