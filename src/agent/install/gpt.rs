//! GUID partition tables (UEFI 2.10, chapter 5): read from an image or a disk, fitted to another disk, written.
//!
//! Images with an MBR only are left as they are: their partitions are neither moved nor grown.

use flate2::Crc;

use super::Error;

const SIGNATURE: &[u8; 8] = b"EFI PART";
const HEADER_LENGTH: usize = 92;
const ENTRY_LENGTH: usize = 128;
/// The specification asks for 128 at least; nobody has more than this.
const MAX_ENTRIES: u32 = 1024;
/// Partitions begin and end on whole MiB.
const ALIGN_BYTES: u64 = 1 << 20;
/// "Linux filesystem data", 0FC63DAF-8483-4772-8E79-3D69D8477DE4, as it lies on the disk.
const LINUX_DATA: [u8; 16] =
    [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];
/// "EFI system partition", C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
const ESP: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

/// One partition, as it lies in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry(pub [u8; ENTRY_LENGTH]);

impl Entry {
    fn u64_at(&self, at: usize) -> u64 {
        get_u64(&self.0, at)
    }

    /// Whether it stands for a partition.
    pub fn is_used(&self) -> bool {
        self.0.first_chunk::<16>() != Some(&[0; 16])
    }

    /// Whether it is an EFI system partition.
    pub fn is_esp(&self) -> bool {
        self.0.starts_with(&ESP)
    }

    /// Its own GUID, as it lies on the disk.
    pub fn guid(&self) -> [u8; 16] {
        self.0.get(16..32).and_then(|guid| guid.try_into().ok()).unwrap_or_default()
    }

    /// Its first sector.
    pub fn first(&self) -> u64 {
        self.u64_at(32)
    }

    /// Its last sector.
    pub fn last(&self) -> u64 {
        self.u64_at(40)
    }

    /// Its label.
    pub fn label(&self) -> String {
        let name = self.0.get(56..).unwrap_or_default().as_chunks::<2>().0.iter();
        let units: Vec<u16> =
            name.map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0).collect();
        String::from_utf16_lossy(&units)
    }

    fn set_last(&mut self, last: u64) {
        put(&mut self.0, 40, &last.to_le_bytes());
    }
}

/// A partition that belongs to no image: made once, kept ever after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPartition {
    /// Its GPT label, at most 36 UTF-16 units; it is known by it.
    pub label: String,
    /// Its size in bytes, when it must be made.
    pub size: u64,
}

/// What becomes of an image's table on a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The number of the partition to grow and to look for the root in; else the one that lies last.
    pub root: Option<u32>,
    /// A partition to make or to keep.
    pub data: Option<DataPartition>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    sector: u64,
    header: [u8; HEADER_LENGTH],
    entries: Vec<Entry>,
}

impl Table {
    /// Finds the table in a disk's first bytes; `None` when there is no table, or a damaged one.
    pub fn parse(begin: &[u8]) -> Option<Self> {
        [512_u64, 4096].into_iter().find_map(|sector| {
            Self::parse_at(begin, sector, 1, sector, |at, length| {
                let at = usize::try_from(at).ok()?;
                begin.get(at..at.checked_add(length)?).map(<[u8]>::to_vec)
            })
        })
    }

    /// Reads a table whose header lies at `lba`; `read` gives bytes of the disk.
    pub fn parse_at(
        header: &[u8],
        header_at: u64,
        lba: u64,
        sector: u64,
        read: impl Fn(u64, usize) -> Option<Vec<u8>>,
    ) -> Option<Self> {
        let header = header.get(usize::try_from(header_at).ok()?..)?.first_chunk::<HEADER_LENGTH>()?;
        let count = get_u32(header, 80);
        let sane = header.starts_with(SIGNATURE)
            && get_u32(header, 12) == 92
            && get_u32(header, 84) == 128
            && (1..=MAX_ENTRIES).contains(&count)
            && get_u64(header, 24) == lba;
        let mut unsigned = *header;
        put(&mut unsigned, 16, &[0; 4]);
        if !sane || crc(&unsigned) != get_u32(header, 16) {
            return None;
        }
        let length = usize::try_from(count).ok()? * ENTRY_LENGTH;
        let bytes = read(get_u64(header, 72).checked_mul(sector)?, length)?;
        if crc(&bytes) != get_u32(header, 88) {
            return None;
        }
        let entries = bytes.as_chunks::<ENTRY_LENGTH>().0.iter().copied().map(Entry).collect();
        Some(Self { sector, header: *header, entries })
    }

    /// Its sectors' size in bytes.
    pub fn sector(&self) -> u64 {
        self.sector
    }

    /// Its partitions with their numbers, from 1.
    pub fn partitions(&self) -> impl Iterator<Item = (u32, &Entry)> {
        (1..).zip(&self.entries).filter(|(_, entry)| entry.is_used())
    }

    /// One partition.
    pub fn partition(&self, number: u32) -> Option<&Entry> {
        self.partitions().find(|(other, _)| *other == number).map(|(_, entry)| entry)
    }

    /// A partition by its label.
    pub fn labelled(&self, label: &str) -> Option<(u32, &Entry)> {
        self.partitions().find(|(_, entry)| entry.label() == label)
    }

    /// The partition that a plan means by root.
    pub fn root(&self, plan: &Plan) -> Option<u32> {
        match plan.root {
            Some(number) => self.partition(number).map(|_| number),
            None => self.partitions().max_by_key(|(_, entry)| entry.first()).map(|(number, _)| number),
        }
    }

    /// Fits an image's table to a disk of `size` bytes: the backup goes to its end, the data partition comes back or
    /// is made, and the root grows if nothing of the image lies behind it. `image` is the image's size in bytes.
    pub fn fit(
        &mut self,
        size: u64,
        image: u64,
        plan: &Plan,
        kept: Option<(u32, Entry)>,
    ) -> Result<(), Error> {
        let sectors = size / self.sector;
        let table = (self.entries.len() as u64 * ENTRY_LENGTH as u64).div_ceil(self.sector);
        let last_usable = sectors.checked_sub(table + 2).filter(|last| *last > get_u64(&self.header, 40));
        let last_usable = last_usable.ok_or(Error::TooSmall { size, image })?;
        for (number, entry) in self.partitions() {
            if entry.last() < entry.first() || entry.last() > last_usable || entry.first() <= table {
                return Err(Error::Table(format!(
                    "partition {number} of the image lies outside of the disk"
                )));
            }
        }
        put(&mut self.header, 32, &(sectors - 1).to_le_bytes());
        put(&mut self.header, 48, &last_usable.to_le_bytes());
        let root = self.root(plan);
        if let Some(data) = &plan.data {
            if self.labelled(&data.label).is_some() {
                return Err(Error::Table(format!("the image has a partition {:?} of its own", data.label)));
            }
            let (number, entry) = match kept {
                Some((number, entry)) => (Some(number), entry),
                None => (None, self.make_data(data, last_usable)?),
            };
            self.add_data(number, entry, image)?;
        }
        if let Some(root) = root {
            self.grow(root, last_usable);
        }
        Ok(())
    }

    fn make_data(&self, data: &DataPartition, last_usable: u64) -> Result<Entry, Error> {
        let unit = ALIGN_BYTES / self.sector;
        let wanted = data.size.div_ceil(ALIGN_BYTES).max(1).saturating_mul(unit);
        let end = (last_usable + 1) / unit * unit;
        let first = end.checked_sub(wanted).ok_or_else(|| {
            Error::Table(format!("the disk has no room for {} bytes of data partition", data.size))
        })?;
        let mut bytes = [0; ENTRY_LENGTH];
        let mut guid = [0; 16];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut guid))
            .map_err(Error::io("reading /dev/urandom"))?;
        // RFC 9562: version 4, in the mixed byte order of GUIDs on disks.
        let [.., version, variant, _, _, _, _, _, _, _] = &mut guid;
        *version = (*version & 0x0f) | 0x40;
        *variant = (*variant & 0x3f) | 0x80;
        put(&mut bytes, 0, &LINUX_DATA);
        put(&mut bytes, 16, &guid);
        put(&mut bytes, 32, &first.to_le_bytes());
        put(&mut bytes, 40, &(end - 1).to_le_bytes());
        let units: Vec<u16> = data.label.encode_utf16().collect();
        if units.is_empty() || units.len() > 36 {
            return Err(Error::Table(format!(
                "a partition label has 1 to 36 characters, {:?} has not",
                data.label
            )));
        }
        for (at, unit) in (56..).step_by(2).zip(units) {
            put(&mut bytes, at, &unit.to_le_bytes());
        }
        Ok(Entry(bytes))
    }

    fn add_data(&mut self, number: Option<u32>, entry: Entry, image: u64) -> Result<(), Error> {
        let last_usable = get_u64(&self.header, 48);
        if entry.first().saturating_mul(self.sector) < image
            || entry.last() > last_usable
            || entry.last() < entry.first()
        {
            return Err(Error::Table(format!(
                "the data partition {:?} (sectors {} to {}) and the image's {image} bytes overlap, or it ends behind the disk",
                entry.label(),
                entry.first(),
                entry.last(),
            )));
        }
        if let Some((other, _)) = self
            .partitions()
            .find(|(_, other)| other.first() <= entry.last() && entry.first() <= other.last())
        {
            return Err(Error::Table(format!(
                "partition {other} and the data partition {:?} overlap",
                entry.label()
            )));
        }
        let free = |entry: &Entry| !entry.is_used();
        let own = number.and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
        let own = own.filter(|slot| self.entries.get(*slot).is_some_and(free));
        let slot = own.or_else(|| self.entries.iter().position(free));
        let slot = slot.and_then(|slot| self.entries.get_mut(slot));
        *slot.ok_or_else(|| {
            Error::Table("the image's table has no free entry for the data partition".into())
        })? = entry;
        Ok(())
    }

    fn grow(&mut self, root: u32, last_usable: u64) {
        let Some(first) = self.partition(root).map(Entry::first) else { return };
        let behind = self.partitions().map(|(_, entry)| entry.first()).filter(|other| *other > first).min();
        let unit = ALIGN_BYTES / self.sector;
        let end = behind.unwrap_or(last_usable + 1) / unit * unit;
        let entry = usize::try_from(root).ok().and_then(|root| self.entries.get_mut(root.checked_sub(1)?));
        if let Some(entry) = entry.filter(|entry| end > 0 && entry.last() < end - 1) {
            entry.set_last(end - 1);
        }
    }

    /// The primary table (header and entries) put into `head`, a disk's first bytes, whose protective MBR is fitted
    /// to the disk; and the backup with the byte it belongs at.
    pub fn encode(&self, head: &mut [u8]) -> Result<(u64, Vec<u8>), Error> {
        let backup_lba = get_u64(&self.header, 32);
        let bytes: Vec<u8> = self.entries.iter().flat_map(|entry| entry.0).collect();
        let table = (bytes.len() as u64).div_ceil(self.sector);
        let mut primary = self.header;
        put(&mut primary, 88, &crc(&bytes).to_le_bytes());
        let mut backup = primary;
        put(&mut backup, 24, &backup_lba.to_le_bytes());
        put(&mut backup, 32, &1_u64.to_le_bytes());
        put(&mut backup, 72, &(backup_lba - table).to_le_bytes());
        for header in [&mut primary, &mut backup] {
            put(header, 16, &[0; 4]);
            let sum = crc(header);
            put(header, 16, &sum.to_le_bytes());
        }
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let entries_at = get_u64(&self.header, 72).checked_mul(self.sector).map_or(usize::MAX, place);
        let fits = entries_at.checked_add(bytes.len()).is_some_and(|end| end <= head.len());
        if !fits || head.len() < place(self.sector) + HEADER_LENGTH {
            return Err(Error::Table("its entries lie behind the first partition".into()));
        }
        put(head, place(self.sector), &primary);
        put(head, entries_at, &bytes);
        for record in [446, 462, 478, 494] {
            if head.get(record + 4) == Some(&0xee) && get_u32(head, record + 8) == 1 {
                put(head, record + 12, &u32::try_from(backup_lba).unwrap_or(u32::MAX).to_le_bytes());
            }
        }
        let mut area = bytes;
        area.resize(place(table * self.sector), 0);
        area.extend_from_slice(&backup);
        area.resize(place((table + 1) * self.sector), 0);
        Ok(((backup_lba - table) * self.sector, area))
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_le_bytes(*four))
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |eight| u64::from_le_bytes(*eight))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(target) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len())) {
        target.copy_from_slice(value);
    }
}
