//! Which part of a file is wanted (RFC 9110 section 14).

/// What a `Range` header asks of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: there is no such header, or one that may be ignored (section 14.2): several ranges, another unit,
    /// or nonsense.
    Whole,
    /// The bytes from `first` to `last`, both included.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// Bytes that the file does not have: 416.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `size` bytes.
pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some((first, last)) = header.and_then(|text| text.strip_prefix("bytes=")).and_then(single) else {
        return Wanted::Whole;
    };
    match (first, last) {
        // The last so many bytes (section 14.1.2).
        (None, Some(0)) => Wanted::Unsatisfiable,
        (None, Some(_)) if size == 0 => Wanted::Unsatisfiable,
        (None, Some(length)) => Wanted::Part { first: size.saturating_sub(length), last: size - 1 },
        (Some(first), _) if first >= size => Wanted::Unsatisfiable,
        (Some(first), Some(last)) if last < first => Wanted::Whole,
        (Some(first), last) => Wanted::Part { first, last: last.unwrap_or(u64::MAX).min(size - 1) },
        (None, None) => Wanted::Whole,
    }
}

/// `first-last`, `first-` or `-length`.
fn single(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let number = |digits: &str| match digits {
        "" => Some(None),
        digits if digits.bytes().all(|c| c.is_ascii_digit()) => {
            Some(Some(digits.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
    };
    let (first, last) = text.trim().split_once('-')?;
    Some((number(first)?, number(last)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges() {
        let part = |first, last| Wanted::Part { first, last };
        for (header, size, expected) in [
            (None, 10, Wanted::Whole),
            (Some("bytes=0-"), 10, part(0, 9)),
            (Some("bytes=0-0"), 10, part(0, 0)),
            (Some("bytes=2-5"), 10, part(2, 5)),
            (Some("bytes=2-99"), 10, part(2, 9)),
            (Some("bytes=9-"), 10, part(9, 9)),
            (Some("bytes=10-"), 10, Wanted::Unsatisfiable),
            (Some("bytes=-3"), 10, part(7, 9)),
            (Some("bytes=-99"), 10, part(0, 9)),
            (Some("bytes=-0"), 10, Wanted::Unsatisfiable),
            (Some("bytes=0-"), 0, Wanted::Unsatisfiable),
            (Some("bytes=-1"), 0, Wanted::Unsatisfiable),
            (Some("bytes=5-2"), 10, Wanted::Whole),
            (Some("bytes=0-1,3-4"), 10, Wanted::Whole),
            (Some("bytes=-"), 10, Wanted::Whole),
            (Some("bytes=a-b"), 10, Wanted::Whole),
            (Some("bytes=+1-2"), 10, Wanted::Whole),
            (Some("lines=0-1"), 10, Wanted::Whole),
            (Some("bytes=99999999999999999999-"), 10, Wanted::Unsatisfiable),
            (Some("bytes=0-99999999999999999999"), 10, part(0, 9)),
        ] {
            assert_eq!(wanted(header, size), expected, "{header:?} of {size}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_file(header in "(bytes=)?[0-9,a-z-]{0,24}", size in 0..1_000_u64) {
            if let Wanted::Part { first, last } = wanted(Some(&header), size) {
                prop_assert!(first <= last && last < size);
            }
        }
    }
}
