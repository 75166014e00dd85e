//! Patterns of module aliases, as modprobe matches them: fnmatch(3) without flags, in bounded time.

/// A pattern or a text longer than this matches nothing, in bytes; the kernel writes neither longer than a page.
const LONGEST: usize = 4_096;

/// Whether `text` matches `pattern`: `*` any run, `?` one character, `[a-z]` one of a set, `[!a]` one
/// not of it, `\` takes the next character as it is. Time is at most the product of both lengths.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    if pattern.len() > LONGEST || text.len() > LONGEST {
        return false;
    }
    let (mut at, mut read) = (0, 0);
    // Behind the last `*`, and what of the text it has not swallowed. An earlier `*` need never be
    // tried again: what it could swallow more, the last one can as well.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(read) {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, read));
            continue;
        }
        if let Some(next) = one(pattern, at, *byte) {
            at = next;
            read += 1;
        } else if let Some((behind, swallowed)) = retry {
            at = behind;
            read = swallowed + 1;
            retry = Some((behind, read));
        } else {
            return false;
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// Behind the element at `at`, when that matches `byte`.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => match set(pattern, at + 1, byte) {
            Some((true, behind)) => Some(behind),
            Some((false, _)) => None,
            None => (byte == b'[').then_some(at + 1),
        },
        b'\\' => match pattern.get(at + 1) {
            Some(escaped) => (*escaped == byte).then_some(at + 2),
            None => (byte == b'\\').then_some(at + 1),
        },
        plain => (*plain == byte).then_some(at + 1),
    }
}

/// Whether `byte` is in the set that begins at `at`, and where the pattern goes on; `None` when the set never ends.
fn set(pattern: &[u8], mut at: usize, byte: u8) -> Option<(bool, usize)> {
    let inverted = matches!(pattern.get(at)?, b'!' | b'^');
    at += usize::from(inverted);
    let first = at;
    let mut found = false;
    loop {
        let low = *pattern.get(at)?;
        if low == b']' && at > first {
            return Some((found != inverted, at + 1));
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(high)) if *high != b']' => {
                found |= (low..=*high).contains(&byte);
                at += 3;
            }
            _ => {
                found |= low == byte;
                at += 1;
            }
        }
    }
}

/// `-` and `_` are the same in an alias, except within `[...]` (libkmod's `alias_normalize`).
pub fn canonical_alias(alias: &str) -> String {
    let mut in_set = false;
    alias
        .chars()
        .map(|character| {
            match character {
                '[' => in_set = true,
                ']' => in_set = false,
                '-' if !in_set => return '_',
                _ => {}
            }
            character
        })
        .collect()
}

/// Whether a name is a pattern.
pub fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn patterns_match_as_modprobe_matches_them() {
        for (name, pattern, text, expected) in [
            ("a name", "ext4", "ext4", true),
            ("another name", "ext4", "ext3", false),
            ("a longer text", "ext4", "ext4x", false),
            ("a shorter text", "ext4", "ext", false),
            (
                "a PCI device",
                "pci:v00008086d000010D3sv*sd*bc*sc*i*",
                "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00",
                true,
            ),
            (
                "another PCI device",
                "pci:v00008086d000010D3sv*sd*bc*sc*i*",
                "pci:v00008086d000010C9sv00008086sd00000000bc02sc00i00",
                false,
            ),
            (
                "a PCI class",
                "pci:v*d*sv*sd*bc01sc06i01*",
                "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
                true,
            ),
            (
                "a USB interface",
                "usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*",
                "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00",
                true,
            ),
            ("a set of digits", "usb:v1234p5678d00[0-2]*dc*", "usb:v1234p5678d0013dc00", true),
            ("outside of the set", "usb:v1234p5678d00[0-2]*dc*", "usb:v1234p5678d0033dc00", false),
            ("an inverted set", "a[!b-d]e", "axe", true),
            ("within an inverted set", "a[!b-d]e", "ace", false),
            ("a bracket in a set", "a[]x]b", "a]b", true),
            ("a dash at the end of a set", "a[x-]b", "a-b", true),
            ("a set that never ends", "a[bc", "a[bc", true),
            ("one character", "a?c", "abc", true),
            ("no character", "a?c", "ac", false),
            ("an escape", r"a\*c", "a*c", true),
            ("an escape is no star", r"a\*c", "abc", false),
            ("a slash is nothing special", "a*c", "a/b/c", true),
            ("only a star", "*", "", true),
            ("stars at the end", "a***", "a", true),
            ("nothing", "", "", true),
            ("nothing against something", "", "a", false),
            ("the second star must step back", "*ab*c", "aabxabyc", true),
            ("dmi", "dmi:*svnDellInc.:*pnR740*", "dmi:bvnDell:svnDellInc.:pnR740xd:pvr:", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{name}: {pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let started = Instant::now();
        assert!(!matches(&"*a".repeat(2_000), &"a".repeat(1_999)));
        assert!(!matches(&format!("{}b", "a*".repeat(2_000)), &"a".repeat(4_000)));
        assert!(!matches("*", &"a".repeat(5_000)), "longer than the limit");
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn dashes_and_underscores_are_the_same_outside_of_sets() {
        assert_eq!(canonical_alias("fs-ext4[a-c]x-y"), "fs_ext4[a-c]x_y");
    }
}
