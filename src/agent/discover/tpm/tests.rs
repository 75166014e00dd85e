//! Answers of a TPM, whole and broken.

use proptest::prelude::*;

use super::*;

/// An answer with this code and these parameters.
fn answer(code: u32, parameters: &[u8]) -> Vec<u8> {
    let size = u32::try_from(parameters.len() + 10).unwrap();
    [&[0x80, 0x02][..], &size.to_be_bytes(), &code.to_be_bytes(), parameters].concat()
}

#[test]
fn answers_are_read() {
    // An index, SHA-256, its attributes, no policy, 1000 bytes; then its name.
    let public = [0, 14, 1, 0xc0, 0, 2, 0, 0x0b, 0x62, 0x07, 0, 1, 0, 0, 0x03, 0xe8, 0, 2, 9, 9];
    assert_eq!(nv_size(&answer(0, &public)).unwrap(), 1000);
    let mut with_policy = vec![0, 18, 1, 0xc0, 0, 2, 0, 0x0b, 0x62, 0x07, 0, 1, 0, 4, 7, 7, 7, 7, 0x03, 0xe8];
    assert_eq!(nv_size(&answer(0, &with_policy)).unwrap(), 1000);
    with_policy[13] = 5;
    assert!(matches!(nv_size(&answer(0, &with_policy)), Err(TpmError::Short)), "a policy of another length");
    assert_eq!(nv_data(&answer(0, &[0, 0, 0, 5, 0, 3, b'a', b'b', b'c', 0])).unwrap(), b"abc");
    assert_eq!(created_public(&answer(0, &[0x80, 0, 0, 0, 0, 0, 0, 4, 0, 2, 7, 8])).unwrap(), [7, 8]);
}

#[test]
fn refusals_and_broken_answers_are_errors() {
    for (name, bytes, expected) in [
        ("nothing", vec![], "too short"),
        ("cut header", vec![0x80, 1, 0, 0, 0, 10, 0], "too short"),
        ("no such index", answer(0x18b, &[]), "0x18b"),
        ("a size of less than the header", vec![0x80, 1, 0, 0, 0, 2, 0, 0, 0, 0], "too short"),
        ("a size beyond the end", vec![0x80, 1, 0, 0, 1, 0, 0, 0, 0, 0], "too short"),
    ] {
        let error = parameters(&bytes).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn certificates_are_cut_from_their_padding() {
    assert_eq!(certificate(&[0x30, 0x82, 0, 2, 1, 2, 0xff, 0xff]).unwrap(), [0x30, 0x82, 0, 2, 1, 2]);
    for broken in [&[][..], &[0x30, 0x82, 0, 9, 1], &[0xff; 16]] {
        assert!(certificate(broken).is_err(), "{broken:?}");
    }
}

#[test]
fn commands_tell_their_own_size() {
    for command in [nv_read_public(), nv_read(Authority::Owner, 512, 0), create_primary()] {
        assert_eq!(command[2..6], u32::try_from(command.len()).unwrap().to_be_bytes());
    }
}

proptest! {
    #[test]
    fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        for bytes in [bytes.clone(), answer(0, &bytes)] {
            let _ = nv_size(&bytes);
            let _ = nv_data(&bytes);
            let _ = created_public(&bytes);
            let _ = certificate(&bytes);
        }
    }
}
