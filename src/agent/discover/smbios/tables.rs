//! Walks through the structures of the SMBIOS tables (DSP0134 section 6.1). Nothing in them is believed.

use super::super::read;

/// More structures than any firmware writes: the bound of the walk.
const STRUCTURES: usize = 8192;
/// The end of the tables (section 7.46).
const END_OF_TABLE: u8 = 127;

/// One structure.
pub(super) struct Structure<'a> {
    /// Its type.
    pub(super) kind: u8,
    /// Its formatted area, with the header, so that offsets are those of the specification.
    formatted: &'a [u8],
    /// The texts behind it, each ended by a NUL.
    texts: &'a [u8],
}

impl Structure<'_> {
    /// The byte at an offset; older firmware has shorter structures.
    pub(super) fn byte(&self, offset: usize) -> Option<u8> {
        self.formatted.get(offset).copied()
    }

    /// The `N` bytes at an offset.
    pub(super) fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        read::array(self.formatted, offset)
    }

    /// The 16-bit number at an offset.
    pub(super) fn word(&self, offset: usize) -> Option<u16> {
        self.array(offset).map(u16::from_le_bytes)
    }

    /// The 32-bit number at an offset.
    pub(super) fn double_word(&self, offset: usize) -> Option<u32> {
        self.array(offset).map(u32::from_le_bytes)
    }

    /// The text whose number, counted from 1, stands at an offset; empty when there is none (section 6.1.3).
    pub(super) fn text(&self, offset: usize) -> String {
        let number = self.byte(offset).unwrap_or(0);
        let Some(index) = usize::from(number).checked_sub(1) else { return String::new() };
        let text = self.texts.split(|byte| *byte == 0).nth(index).unwrap_or_default();
        String::from_utf8_lossy(text.get(..256).unwrap_or(text)).into_owned()
    }
}

/// The structures, to the end of the tables or to the first that is broken.
pub(super) fn structures(tables: &[u8]) -> impl Iterator<Item = Structure<'_>> {
    let mut rest = tables;
    std::iter::from_fn(move || {
        let [kind, length, ..] = *rest.first_chunk::<4>()?;
        let (formatted, behind) = rest.split_at_checked(usize::from(length).max(4))?;
        if length < 4 || kind == END_OF_TABLE {
            return None;
        }
        // Two NULs end the texts, also where there are none; the first ends the last text.
        let end = behind.windows(2).position(|pair| pair == [0, 0])?;
        rest = behind.get(end.checked_add(2)?..)?;
        Some(Structure { kind, formatted, texts: behind.get(..end)? })
    })
    .take(STRUCTURES)
}
