//! The walk through a tree: where links may lead, and where not.

use std::os::unix::fs::{lchown, symlink};

use super::super::root::{New, Root};
use super::*;

#[test]
fn links_stay_in_the_tree_and_only_the_superusers_are_followed() {
    let tree = Tree::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(tree.at("/home/user")).unwrap();
    symlink("usr/lib", tree.at("/lib")).unwrap();
    symlink("/usr/lib", tree.at("/usr/absolute")).unwrap();
    symlink("../../../../../usr/lib", tree.at("/usr/up")).unwrap();
    symlink(outside.path(), tree.at("/usr/out")).unwrap();
    symlink("loop", tree.at("/usr/loop")).unwrap();
    symlink("/etc", tree.at("/home/user/mine")).unwrap();
    lchown(tree.at("/home/user/mine"), Some(1000), Some(1000)).unwrap();
    let root = Root::open(&tree.root()).unwrap();
    for (path, lands) in [
        ("/lib/a", Some("/usr/lib/a")),
        ("/usr/absolute/b", Some("/usr/lib/b")),
        ("/usr/up/c", Some("/usr/lib/c")),
        ("/usr/up/../d", Some("/usr/d")),
        ("/new/folder/e", Some("/new/folder/e")),
        ("/usr/loop/f", None),
        ("/home/user/mine/g", None),
        ("/etc/passwd/h", None),
        ("/", None),
    ] {
        let put = root.put(path, New::File(b"x", 0o600), 0, 0);
        assert_eq!(put.is_ok(), lands.is_some(), "{path}: {put:?}");
        if let Some(lands) = lands {
            assert_eq!(tree.read(lands), "x", "{path}");
        }
    }
    let _inside_or_refused = root.put("/usr/out/z", New::File(b"x", 0o600), 0, 0);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(!tree.at("/etc/g").exists());
}
