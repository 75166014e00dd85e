//! How long something is ago, for a person.

/// `milliseconds` as its greatest unit: `45 s`, `12 min`, `3 h`, `2 d`.
pub fn spoken(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Names as a person lists them: `n1`, `n1 and n2`, `n1, n2 and n3`; of more than five, the first four and how many more.
pub fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] if first.len() < 5 => format!("{} and {last}", first.join(", ")),
        _ => {
            let first: Vec<&str> = names.iter().take(4).copied().collect();
            format!("{} and {} more", first.join(", "), names.len() - 4)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spoken_in_their_greatest_unit() {
        for (milliseconds, text) in [
            (0, "0 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
            (u64::MAX, "213503982334 d"),
        ] {
            assert_eq!(spoken(milliseconds), text);
        }
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(listed(&[]), "");
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b"]), "a and b");
        assert_eq!(listed(&["a", "b", "c", "d", "e"]), "a, b, c, d and e");
        assert_eq!(listed(&["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d and 3 more");
    }
}
