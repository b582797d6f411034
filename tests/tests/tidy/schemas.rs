//! What a service's `schema.rs` says about its tables is what its migrations make.

use std::collections::BTreeMap;
use std::path::Path;

use platform::Service;
use platform::database::Server;
use platform::postgres::Durability;
use tokio::sync::OnceCell;

use super::{assert_none, read};

/// Table and column to type, such as `Nullable<Uuid>`.
type Columns = BTreeMap<String, String>;

/// One migrated database for both tests of this file.
async fn migrated() -> (&'static Server, &'static str) {
    static DATABASE: OnceCell<(Server, String)> = OnceCell::const_new();
    let (server, database) = DATABASE
        .get_or_init(async || {
            let server = Server::throwaway(Durability::Fast).await.unwrap();
            let database = server.create_from_template().await.unwrap();
            // Modules make their tables when they are switched on.
            let client = server.connect(&database).await.unwrap();
            let switch_on = "SELECT auth.switch_module(name, true) FROM auth.modules";
            client.batch_execute(switch_on).await.unwrap();
            (server, database)
        })
        .await;
    (server, database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_rs_is_what_the_migrations_make() {
    let (server, database) = migrated().await;
    let client = server.connect(database).await.unwrap();
    let mut problems = Vec::new();
    for service in Service::ALL {
        let Some(schema) = service.schema() else { continue };
        let path = format!("{}/src/schema.rs", service.name());
        let (written, real) = (written(&read(Path::new(&path))), real(&client, schema).await);
        for (column, kind) in &real {
            if written.get(column) != Some(kind) {
                let says = written.get(column).map_or("nothing", String::as_str);
                problems.push(format!("{path}: {column} is {kind}, the file says {says}"));
            }
        }
        let gone = written.keys().filter(|column| !real.contains_key(*column));
        problems.extend(gone.map(|column| format!("{path}: {column} does not exist")));
    }
    assert_none(&problems, "Write it as `diesel print-schema` would:");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_says_what_it_is_for() {
    let (server, database) = migrated().await;
    let client = server.connect(database).await.unwrap();
    let rows = client
        .query(
            "SELECT oid::regclass::text FROM pg_class
             WHERE relkind IN ('r', 'p') AND NOT relispartition AND obj_description(oid) IS NULL
                 AND relname <> '__diesel_schema_migrations'
                 AND relnamespace = ANY (SELECT oid FROM pg_namespace WHERE nspname = ANY ($1))",
            &[&Service::ALL
                .into_iter()
                .filter_map(Service::schema)
                .collect::<Vec<_>>()],
        )
        .await
        .unwrap();
    let problems: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_none(&problems, "Add COMMENT ON TABLE to the migration:");
}

async fn real(client: &tokio_postgres::Client, schema: &str) -> Columns {
    let rows = client
        .query(
            "SELECT c.table_name || '.' || c.column_name, c.udt_name, c.is_nullable = 'YES'
             FROM information_schema.columns c
             JOIN pg_class t ON t.oid = format('%I.%I', c.table_schema, c.table_name)::regclass
             WHERE c.table_schema = $1 AND NOT t.relispartition AND t.relkind IN ('r', 'p')
                 AND c.table_name <> '__diesel_schema_migrations'",
            &[&schema],
        )
        .await
        .unwrap();
    let column = |row: &tokio_postgres::Row| {
        let (name, kind, nullable): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
        let kind = diesel_type(&kind);
        (
            name,
            if nullable {
                format!("Nullable<{kind}>")
            } else {
                kind
            },
        )
    };
    rows.iter().map(column).collect()
}

/// Arrays are written with nullable elements, because PostgreSQL's always are.
fn diesel_type(name: &str) -> String {
    match name.strip_prefix('_') {
        Some(element) => format!("Array<Nullable<{}>>", diesel_type(element)),
        None => format!("{}{}", name[..1].to_uppercase(), &name[1..]),
    }
}

/// The columns of the `table!` blocks.
fn written(text: &str) -> Columns {
    let mut columns = Columns::new();
    for block in text.split("diesel::table! {").skip(1) {
        let mut lines = block
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("//"));
        let table = lines
            .next()
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned();
        let mut sql_name = None;
        for line in lines.take_while(|line| *line != "}") {
            if let Some(name) = line.strip_prefix("#[sql_name = \"") {
                sql_name = name.split('"').next().map(str::to_owned);
            } else if let Some((name, kind)) = line.split_once(" -> ") {
                let name = sql_name.take().unwrap_or_else(|| name.to_owned());
                columns.insert(format!("{table}.{name}"), kind.trim_end_matches(',').to_owned());
            }
        }
    }
    columns
}
