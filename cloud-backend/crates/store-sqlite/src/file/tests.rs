use super::*;

/// Tables and indexes, as they were written, and how many rows each table has.
fn shape(connection: &Connection) -> Vec<(String, String, i64)> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
    let mut statement = connection.prepare(sql).expect("a statement");
    let named = statement.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)));
    let named: Vec<_> = named.expect("rows").collect::<Result<_, _>>().expect("texts");
    let rows = |name: &str, sql: &str| {
        let count = format!("SELECT count(*) FROM {name}");
        if sql.starts_with("CREATE TABLE") { connection.query_row(&count, [], |r| r.get(0)) } else { Ok(0) }
    };
    named
        .into_iter()
        .map(|(name, sql)| (rows(&name, &sql).expect("a number"), name, sql))
        .map(|(n, name, sql)| (name, sql, n))
        .collect()
}

#[test]
fn every_earlier_version_becomes_the_newest_and_keeps_its_rows() {
    let tenant = Target::Tenant(plant_model::TenantId::new("acme").expect("valid"));
    // A row of a table of the first version.
    let control = "INSERT INTO tenant VALUES ('acme', 'Acme', 7)";
    let telemetry = "INSERT INTO batch VALUES ('gw-1', 1, 2, 1, 0, 0, 1, 0, x'00')";
    for (target, row) in [(Target::Control, control), (tenant, telemetry)] {
        let steps = migrations(&target);
        let arrived = |version: usize| {
            let scratch = tempfile::tempdir().expect("a directory");
            let files = Files::prepare(scratch.path()).expect("prepared");
            let path = files.path(&target);
            let _ = fs::remove_file(&path);
            make(&path).expect("made");
            build(&path, &target, &steps[..version]).expect("built");
            let old = open_writable(&path).expect("opens");
            old.execute(row, []).expect("a row");
            drop(old);
            shape(&files.open_checked(&target).expect("it is brought up to date"))
        };
        let newest = arrived(steps.len());
        assert!(newest.len() > 4, "{newest:?}");
        for version in 1..steps.len() {
            assert_eq!(arrived(version), newest, "{target:?} from version {version}");
        }
    }
}

#[test]
fn a_file_of_before_gives_its_space_back_once_it_was_opened() {
    let target = Target::Tenant(plant_model::TenantId::new("acme").expect("valid"));
    let scratch = tempfile::tempdir().expect("a directory");
    let files = Files::prepare(scratch.path()).expect("prepared");
    files.create(&target).expect("made");
    let mode = |connection: &Connection| -> i64 {
        connection.query_row("PRAGMA auto_vacuum", [], |row| row.get(0)).expect("a number")
    };
    let old = open_writable(&files.path(&target)).expect("opens");
    assert_eq!(mode(&old), INCREMENTAL, "one that is made now");
    old.execute_batch(
        "PRAGMA auto_vacuum = 0; VACUUM; INSERT INTO batch VALUES ('gw-1', 1, 2, 1, 0, 0, 1, 0, x'00')",
    )
    .expect("as it was");
    assert_eq!(mode(&old), 0);
    drop(old);
    let opened = files.open_checked(&target).expect("opens");
    assert_eq!(mode(&opened), INCREMENTAL);
    let rows: i64 = opened.query_row("SELECT count(*) FROM batch", [], |row| row.get(0)).expect("a number");
    assert_eq!(rows, 1);
}
