//! What authors write, and the mistakes they make: each is told, with its line.

use super::*;

/// What is told of this manifest; the first lines of one are there unless it has its own.
fn told(text: &str, files: BTreeMap<String, Vec<u8>>) -> Option<String> {
    let text = if text.starts_with('[') { format!("{HEAD}{text}") } else { text.to_owned() };
    Bundle::new(text, files).err().map(|error| error.to_string())
}

#[test]
fn every_mistake_is_told_with_its_line() {
    for (name, text, message) in [
        ("no TOML", "name = ", "bundle.toml, line 1"),
        ("no name", "version = \"1\"", "name is missing"),
        ("a bad name", "name = \"A b\"\nversion = \"1\"", "line 1: name 'A b'"),
        (
            "a key that is misspelt",
            "name = \"a\"\nversion = \"1\"\ndescripton = \"x\"",
            "line 3: unknown key 'descripton'; did you mean 'description'?",
        ),
        ("needs itself", "name = \"a\"\nversion = \"1\"\nneeds = [\"a\"]", "does not need itself"),
        ("a file without its source", "[[file]]\npath = \"/etc/x\"", "source is missing"),
        (
            "a source that is not there",
            "[[file]]\npath = \"/etc/x\"\nsource = \"files/y\"",
            "did you mean 'files/x'?",
        ),
        ("a source outside", "[[file]]\npath = \"/etc/x\"\nsource = \"../x\"", "no '..'"),
        ("a relative path", "[[file]]\npath = \"etc/x\"\nsource = \"files/x\"", "must be absolute"),
        ("a path with '..'", "[[file]]\npath = \"/etc/../x\"\nsource = \"files/x\"", "may not have '..'"),
        ("a path of the kernel", "[[file]]\npath = \"/proc/x\"\nsource = \"files/x\"", "the kernel's"),
        (
            "a path twice",
            "[[file]]\npath = \"/x\"\nsource = \"files/x\"\n[[file]]\npath = \"/x\"\nsource = \"files/x\"",
            "is written by the [[file]] of line 3 already",
        ),
        (
            "a mode that is none",
            "[[file]]\npath = \"/x\"\nsource = \"files/x\"\nmode = \"rw\"",
            "octal digits",
        ),
        (
            "an owner that is none",
            "[[file]]\npath = \"/x\"\nsource = \"files/x\"\nowner = \"a b\"",
            "owner 'a b'",
        ),
        ("a unit without suffix", "[[unit]]\nname = \"etcd\"", "ends in one of"),
        ("two probes", "[[health]]\nname = \"x\"\ntcp = \"a:1\"\nunit = \"x.service\"", "exactly one"),
        ("no probe", "[[health]]\nname = \"x\"", "exactly one"),
        (
            "a time that is none",
            "[[health]]\nname = \"x\"\ntcp = \"a:1\"\nwithin = \"soon\"",
            "within: a duration",
        ),
        ("a type that is none", "[variables.x]\ntype = \"text\"", "'text' is no type"),
        ("a default of another type", "[variables.x]\ntype = \"integer\"\ndefault = \"1\"", "is no integer"),
        (
            "a secret with a default",
            "[variables.x]\ntype = \"secret\"\ndefault = \"1\"",
            "a secret has no default",
        ),
        ("a variable that templates have", "[variables.node]\ntype = \"string\"", "take another"),
        (
            "an expression that is none",
            "[[unit]]\nname = \"x.service\"\nwhen = \"role ==\"",
            "line 5: [[unit]]: when",
        ),
        ("a hook that is no argv", "[hooks]\nprepare = \"x\"", "an argv"),
        ("a package without name", "[[package]]\nversion = \"1\"", "a package has a name"),
        ("a port that is none", "[[service]]\nname = \"x\"\nport = 0", "from 1 to 65535"),
        (
            "a template that is broken",
            "[[file]]\npath = \"/x\"\nsource = \"files/bad.j2\"",
            "files/bad.j2, line 2",
        ),
    ] {
        let mut files = sources(&[("files/x", "x")]);
        if name == "a template that is broken" {
            files.insert("files/bad.j2".into(), b"fine\n{{ x".to_vec());
        }
        let told = told(text, files).expect(name);
        assert!(told.contains(message), "{name}: {told}");
    }
    let both =
        Bundle::new("name = \"A\"\nversion = \" \"".into(), BTreeMap::new()).expect_err("two mistakes");
    assert_eq!(both.to_string().lines().count(), 2, "{both}");
}

#[test]
fn what_a_node_would_refuse_is_told_with_its_line() {
    for (name, text, message) in [
        ("a name that nothing can be pinned to", "name = \"a.b\"\nversion = \"1\"", "line 1: name 'a.b'"),
        (
            "a version that nothing can be pinned to",
            "name = \"a\"\nversion = \"1.0~rc1\"",
            "line 2: version '1.0~rc1'",
        ),
        ("a package with its architecture", "[[package]]\nname = \"libc6:i386\"", "no architecture"),
        (
            "a path of the agent",
            "[[file]]\npath = \"/run/firstlight/x\"\nsource = \"files/x\"",
            "line 4: [[file]]: path '/run/firstlight/x': /run/firstlight is the agent's own",
        ),
        ("a check by https", "[[health]]\nname = \"x\"\nhttp = \"https://a/\"", "starts with http://"),
        (
            "a check of no port",
            "[[health]]\nname = \"x\"\ntcp = \"localhost\"",
            "line 5: [[health]]: tcp 'localhost'",
        ),
        ("a check of no unit", "[[health]]\nname = \"x\"\nunit = \"etcd\"", "ends in one of"),
        ("a check by nothing", "[[health]]\nname = \"x\"\ncommand = [\"\"]", "first word is blank"),
        (
            "a hook that runs nothing",
            "[hooks]\nstop = [\" \", \"x\"]",
            "line 4: [hooks]: stop: its first word",
        ),
    ] {
        let told = told(text, sources(&[("files/x", "x")])).expect(name);
        assert!(told.contains(message), "{name}: {told}");
    }
}

#[test]
fn a_folder_packs_to_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("files")).expect("a folder");
    std::fs::write(folder.path().join("bundle.toml"), HEAD).expect("write");
    std::fs::write(folder.path().join("files/x"), "x").expect("write");
    std::fs::write(folder.path().join(".hidden"), "x").expect("write");
    let read = Bundle::read(folder.path()).expect("a bundle");
    assert_eq!(read.sources.keys().collect::<Vec<_>>(), ["files/x"]);
    let packed = read.pack().expect("it packs");
    assert_eq!(Bundle::unpack(&packed).expect("it unpacks"), read);
    assert_eq!(Bundle::read(folder.path()).expect("a bundle").pack().expect("it packs"), packed);
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("files/link")).expect("a link");
    let told = Bundle::read(folder.path()).expect_err("a link").to_string();
    assert!(told.contains("files/link"), "{told}");
}

proptest::proptest! {
    #[test]
    fn nobodys_text_or_archive_panics(text in ".{0,400}", bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)) {
        let _ = Bundle::new(text, BTreeMap::new());
        let _ = Bundle::unpack(&bytes);
    }
}
