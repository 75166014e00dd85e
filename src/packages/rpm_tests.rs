//! Headers as rpmbuild writes them, and those that nobody should.

use proptest::prelude::*;

use super::*;

/// A tag's number, type, count and bytes.
type Value<'a> = (u32, u32, u32, &'a [u8]);

fn header(values: &[Value<'_>]) -> Vec<u8> {
    let (mut index, mut store) = (Vec::new(), Vec::new());
    for (tag, kind, count, bytes) in values {
        let width = match kind {
            3 => 2,
            4 => 4,
            5 => 8,
            _ => 1,
        };
        while store.len() % width != 0 {
            store.push(0);
        }
        let offset = u32::try_from(store.len()).unwrap();
        for number in [*tag, *kind, offset, *count] {
            index.extend(number.to_be_bytes());
        }
        store.extend_from_slice(bytes);
    }
    let mut out = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
    out.extend(u32::try_from(values.len()).unwrap().to_be_bytes());
    out.extend(u32::try_from(store.len()).unwrap().to_be_bytes());
    out.extend(index);
    out.extend(store);
    out
}

fn file(main: &[u8]) -> Vec<u8> {
    let mut out = vec![0xed, 0xab, 0xee, 0xdb];
    out.resize(96, 0);
    out.extend(header(&[(1007, 4, 1, &7_u32.to_be_bytes())]));
    while out.len() % 8 != 0 {
        out.push(0);
    }
    out.extend(main);
    out.extend(b"payload");
    out
}

fn good() -> Vec<Value<'static>> {
    vec![
        (1000, 6, 1, b"hello\0"),
        (1001, 6, 1, b"1.0\0"),
        (1002, 6, 1, b"2.el9\0"),
        (1003, 4, 1, &[0, 0, 0, 3]),
        (1004, 9, 1, b"a <b> & c\0"),
        (1022, 6, 1, b"x86_64\0"),
        (1044, 6, 1, b"hello-1.0-2.el9.src.rpm\0"),
        (1030, 3, 2, &[0o201, 0o244, 0x41, 0xed]),
        (1037, 4, 2, &[0, 0, 0, 64, 0, 0, 0, 0]),
        (1116, 4, 2, &[0, 0, 0, 0, 0, 0, 0, 0]),
        (1117, 8, 2, b"a.conf\0a.d\0"),
        (1118, 8, 1, b"/etc/\0"),
        (1048, 4, 3, &[0, 0, 0, 12, 1, 0, 0, 10, 0, 0, 2, 0]),
        (1049, 8, 3, b"libc\0rpmlib(X)\0/bin/sh\0"),
        (1050, 8, 3, b"1:2.34-5\x001\0\0"),
    ]
}

#[test]
fn a_package() {
    let rpm = read(&mut file(&header(&good())).as_slice()).unwrap();
    assert_eq!((rpm.name.as_str(), rpm.architecture.as_str()), ("hello", "x86_64"));
    let version = Evr { epoch: "3".into(), version: "1.0".into(), release: Some("2.el9".into()) };
    assert_eq!((rpm.version, rpm.archive_size), (version, 7));
    let libc = Evr { epoch: "1".into(), version: "2.34".into(), release: Some("5".into()) };
    let requires = &rpm.relations.iter().find(|(kind, _)| *kind == "requires").unwrap().1;
    assert_eq!(
        *requires,
        [
            Relation { name: "libc".into(), flags: Some("GE"), version: libc, pre: false },
            Relation { name: "/bin/sh".into(), flags: None, version: Evr::default(), pre: true },
        ]
    );
    assert_eq!(
        rpm.files,
        [(FileKind::Ghost, "/etc/a.conf".to_owned()), (FileKind::Folder, "/etc/a.d".to_owned())]
    );
    assert_eq!(rpm.header_start % 8, 0);
    assert_eq!(rpm.header_end - rpm.header_start, header(&good()).len() as u64);
}

#[test]
fn broken_packages() {
    let with = |value: Value<'static>| {
        let mut values = good();
        values.retain(|(tag, ..)| *tag != value.0);
        values.push(value);
        file(&header(&values))
    };
    let mut large = file(&header(&good()));
    let start = large.windows(8).rposition(|w| w == [0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0]).unwrap();
    large[start + 12..start + 16].copy_from_slice(&u32::MAX.to_be_bytes());
    for (name, bytes, expected) in [
        ("nothing", Vec::new(), "does not begin with"),
        ("cut off", file(&header(&good()))[..300].to_vec(), "cannot be read"),
        ("too large", large, "4294967295 bytes"),
        ("no name", with((1000, 6, 0, b"")), "tag 1000"),
        ("path as name", with((1000, 6, 1, b"../x\0")), "name is"),
        ("path as version", with((1001, 6, 1, b"1/2\0")), "version is"),
        ("path as architecture", with((1022, 6, 1, b"..\0")), "architecture is"),
        ("source package", with((1106, 4, 1, &[0, 0, 0, 1])), "source RPM"),
        ("folder that is not there", with((1116, 4, 2, &[0, 0, 0, 0, 0, 0, 0, 9])), "list of files"),
        ("lists of different length", with((1050, 8, 1, b"1\0")), "list of requires"),
        ("text without end", with((1117, 8, 9, b"a\0bbbbbbbbb")), "tag 1117"),
        ("number beyond the store", with((1116, 4, 5, &[0, 0, 0, 0])), "tag 1116"),
        ("count beyond the store", with((1117, 8, u32::MAX, b"a\0")), "tag 1117"),
        ("other type", with((1003, 6, 1, b"3\0")), "tag 1003"),
    ] {
        let error = match read(&mut bytes.as_slice()) {
            Ok(rpm) => format!("none, but {rpm:?}"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(expected), "{name}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = read(&mut bytes.as_slice());
        let _ = read(&mut file(&bytes).as_slice());
        let mut framed = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0, 0, 0, 4];
        framed.extend(&bytes);
        let _ = read(&mut file(&framed).as_slice());
    }

    #[test]
    fn no_changed_byte_panics(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = file(&header(&good()));
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let _ = read(&mut bytes.as_slice());
    }
}
