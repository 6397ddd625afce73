//! The distribution's `sqlite3` command with the extension loaded. Goal: SQL on a volume works as on
//! any file system, with a SQLite that this project did not build. Method: scripts, and their output.

#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The extension, as Cargo built it for this test.
fn extension() -> PathBuf {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let names = [deps.join("libashlar_sqlite.so"), deps.join("../libashlar_sqlite.so")];
    names.into_iter().find(|path| path.is_file()).expect("built beside this test")
}

fn shell(folder: &Path) -> Command {
    let mut command = Command::new("sqlite3");
    command.current_dir(folder).arg("-batch").stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Runs a script after loading the extension; returns standard output and standard error.
fn run(folder: &Path, script: &str) -> (String, String) {
    let mut child = shell(folder).stderr(Stdio::piped()).spawn().expect("sqlite3 is installed");
    let script = format!(".load {}\n.log stderr\n{script}", extension().display());
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (text(output.stdout), text(output.stderr))
}

/// Runs a script that must succeed without a word of complaint.
fn output(folder: &Path, script: &str) -> String {
    let (out, errors) = run(folder, script);
    assert_eq!(errors, "", "{script}");
    out
}

#[test]
fn a_database_lives_in_a_volume_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let first = output(
        folder.path(),
        ".open 'file:v.img/shop/app.db?vfs=ashlar&create=64M'
         create table t(a, b);
         insert into t values(1, 'one'), (2, 'two');
         begin; delete from t; rollback;
         begin; savepoint s; delete from t; rollback to s; insert into t values(3, 'three'); commit;
         select * from t;
         vacuum; pragma integrity_check;",
    );
    assert_eq!(first, "1|one\n2|two\n3|three\nok");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing beside the image");
    let second = output(
        folder.path(),
        ".open 'file:./v.img/shop/../shop/app.db?vfs=ashlar'
         select group_concat(b) from t; pragma integrity_check;",
    );
    assert_eq!(second, "one,two,three\nok");
    // Without the extension the image is no database.
    let volume = ashlar::Volume::open_image(folder.path().join("v.img")).unwrap();
    let names: Vec<_> = volume.read_dir("shop").unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(names.len(), 1, "no journal is left: {names:?}");
}

#[test]
fn attached_databases_and_volumes_work_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let found = output(
        folder.path(),
        ".open 'file:one.img/a.db?vfs=ashlar&create=32M'
         attach 'one.img/b.db' as b;
         attach 'file:two.img/c.db?create=32M' as c;
         create table t(x); create table b.t(x); create table c.t(x);
         begin; insert into t values(1); insert into b.t values(2); commit;
         insert into c.t values(3);
         attach 'file:plain.db?vfs=unix' as p;
         create table p.t as select * from c.t;
         select (select x from t), (select x from b.t), (select x from c.t), (select x from p.t);",
    );
    assert_eq!(found, "1|2|3|3");
    assert!(folder.path().join("plain.db").is_file());
}

#[test]
fn transactions_that_cannot_be_atomic_are_refused_and_undone() {
    let folder = tempfile::tempdir().unwrap();
    for (main, other) in [
        ("file:one.img/a.db?vfs=ashlar&create=32M", "file:two.img/c.db?create=32M"),
        ("file:one.img/d.db?vfs=ashlar", "file:plain.db?vfs=unix"),
        ("file:plain.db?vfs=unix", "file:one.img/d.db?vfs=ashlar"),
    ] {
        let (found, errors) = run(
            folder.path(),
            &format!(
                ".open '{main}'
                 attach '{other}' as o;
                 create table if not exists main.t(x); create table if not exists o.t(x);
                 begin; insert into main.t values(1); insert into o.t values(2); commit;
                 select (select count(*) from main.t), (select count(*) from o.t);
                 pragma main.integrity_check; pragma o.integrity_check;
                 insert into main.t values(5); insert into o.t values(5);
                 select (select count(*) from main.t), (select count(*) from o.t);
                 delete from main.t; delete from o.t;"
            ),
        );
        assert_eq!(found, "0|0\nok\nok\n1|1", "{main}: {errors}");
        assert!(errors.contains("one transaction cannot cover"), "{main}: {errors}");
    }
}

#[test]
fn what_cannot_be_opened_says_why() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "no volume").unwrap();
    for (path, words) in [
        ("missing.img/a.db?vfs=ashlar", "missing.img"),
        ("text/a.db?vfs=ashlar", "text"),
        ("text?vfs=ashlar", "is no file in a volume"),
        ("new.img/a.db?vfs=ashlar&create=lots", "create=lots is no size"),
    ] {
        let (found, errors) =
            run(folder.path(), &format!(".open 'file:{path}'\nselect 1 from sqlite_master;"));
        assert_eq!(found, "", "{path}");
        assert!(errors.contains("ashlar: ") && errors.contains(words), "{path}: {errors}");
    }
    assert!(!folder.path().join("new.img").exists());
}

#[test]
fn a_volume_belongs_to_one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let volume = ashlar::Volume::create(folder.path().join("v.img"), 32 << 20).unwrap();
    let script = ".open 'file:v.img/a.db?vfs=ashlar'\ncreate table t(x);";
    let (_, errors) = run(folder.path(), script);
    assert!(errors.contains("locked"), "{errors}");
    volume.close().unwrap();
    assert_eq!(output(folder.path(), script), "");
}

#[test]
fn journal_modes_answer_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let found = output(
        folder.path(),
        ".open 'file:v.img/a.db?vfs=ashlar&create=64M'
         create table t(x);
         pragma journal_mode = wal;
         pragma journal_mode = persist; insert into t values(1);
         pragma journal_mode = truncate; insert into t values(2);
         pragma journal_mode = memory; insert into t values(3);
         pragma journal_mode = off; insert into t values(4);
         pragma journal_mode = delete;
         pragma locking_mode = exclusive; pragma journal_mode = wal;
         insert into t values(5); pragma wal_checkpoint; insert into t values(6);",
    );
    let lines: Vec<&str> = found.lines().collect();
    let expected = ["delete", "persist", "truncate", "memory", "off", "delete", "exclusive", "wal"];
    assert_eq!(lines[..8], expected);
    let again = output(
        folder.path(),
        ".open 'file:v.img/a.db?vfs=ashlar'
         pragma locking_mode = exclusive;
         select group_concat(x) from t; pragma journal_mode = delete;",
    );
    assert_eq!(again, "exclusive\n1,2,3,4,5,6\ndelete");
    let normal = output(
        folder.path(),
        ".open 'file:v.img/a.db?vfs=ashlar'
         select count(*) from t; pragma integrity_check;",
    );
    assert_eq!(normal, "6\nok");
}

/// Every row says how many there must be before it: a commit that was acknowledged is there, and
/// nothing of one that was not.
#[test]
fn killed_processes_lose_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    output(
        folder.path(),
        ".open 'file:v.img/a.db?vfs=ashlar&create=128M'
         attach 'v.img/b.db' as b;
         create table t(n integer primary key, pad); create table b.t(n integer primary key, pad);",
    );
    let mut acknowledged: i64 = 0;
    for round in 0..20 {
        let mut child = shell(folder.path()).stderr(Stdio::null()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let first = acknowledged + 1;
        let writer = std::thread::spawn(move || {
            let mut script = format!(
                ".load {}\n.open 'file:v.img/a.db?vfs=ashlar'\nattach 'v.img/b.db' as b;
                 pragma cache_size = 10;\n",
                extension().display()
            );
            for n in first..first + 3000 {
                script += &format!(
                    "begin; insert into t values({n}, randomblob(9000));
                     insert into b.t values({n}, randomblob(20));
                     update t set pad = randomblob(3000) where n > {n} - 9; commit; select {n};\n"
                );
            }
            // The reader kills the other side.
            let _ = input.write_all(script.as_bytes());
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..=fastrand::usize(..40) {
            if let Some(Ok(line)) = lines.next() {
                acknowledged = line.parse().unwrap();
            }
        }
        std::thread::sleep(std::time::Duration::from_micros(fastrand::u64(..3000)));
        child.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            acknowledged = line.parse().unwrap_or(acknowledged);
        }
        child.wait().unwrap();
        writer.join().unwrap();
        let found = output(
            folder.path(),
            ".open 'file:v.img/a.db?vfs=ashlar'
             attach 'v.img/b.db' as b;
             pragma integrity_check; pragma b.integrity_check;
             select max(n), count(*) = max(n), (select max(n) from b.t), (select count(*) from b.t)
             from t;",
        );
        let numbers: Vec<i64> = found
            .strip_prefix("ok\nok\n")
            .unwrap_or_else(|| panic!("round {round}: {found}"))
            .split('|')
            .map(|number| number.parse().unwrap())
            .collect();
        let [last, whole, b_last, b_count] = numbers[..] else { panic!("{found}") };
        assert!(whole == 1 && b_last == last && b_count == last, "round {round}: {found}");
        assert!([acknowledged, acknowledged + 1].contains(&last), "round {round}: {last}");
        acknowledged = last;
    }
}
