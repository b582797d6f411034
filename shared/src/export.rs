//! A list as a file: CSV (RFC 4180) or NDJSON, streamed page by page. Its length costs no memory, and nothing is held of the
//! database between two pages.
//!
//! A file that breaks off must not look complete. Its length is not known before, so it is sent in chunks; one that breaks
//! off ends without the last of them, which every HTTP client reports as an error.

use std::fmt;
use std::io;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ApiError, Page, request_context};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Comma-separated values with a line of names, as spreadsheets read them.
    Csv,
    /// A JSON object on each line, the same as in the list.
    Ndjson,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    fn head<T: CsvRow>(self) -> Result<Vec<u8>, ApiError> {
        match self {
            Self::Csv => csv_lines(&[T::NAMES.iter().map(ToString::to_string).collect()]),
            Self::Ndjson => Ok(Vec::new()),
        }
    }

    fn lines<T: CsvRow + Serialize>(self, rows: &[T]) -> Result<Vec<u8>, ApiError> {
        if self == Self::Csv {
            let cells: Vec<Vec<String>> = rows.iter().map(CsvRow::cells).collect();
            return csv_lines(&cells);
        }
        let mut lines = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut lines, row).map_err(ApiError::internal)?;
            lines.push(b'\n');
        }
        Ok(lines)
    }
}

/// A row of a CSV file.
pub trait CsvRow {
    const NAMES: &'static [&'static str];

    /// One for each name. What a person wrote goes through [`text_cell`].
    fn cells(&self) -> Vec<String>;
}

/// Free text as a cell. A spreadsheet would run text that begins like a formula, so that begins with an apostrophe instead.
pub fn text_cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r']);
    format!("{}{text}", if is_formula { "'" } else { "" })
}

/// What a cell is for something that may be missing.
pub fn cell(value: Option<impl fmt::Display>) -> String {
    value.map(|it| it.to_string()).unwrap_or_default()
}

fn csv_lines(lines: &[Vec<String>]) -> Result<Vec<u8>, ApiError> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    for cells in lines {
        writer.write_record(cells).map_err(ApiError::internal)?;
    }
    writer
        .into_inner()
        .map_err(|error| ApiError::internal(anyhow::anyhow!("{error}")))
}

/// Answers with a file called `name`, of all pages from the first on; each is asked for with the cursor of the one before.
/// What goes wrong with the first is answered as an error.
pub async fn respond<T, Pages, Fetched>(
    name: &str,
    format: Format,
    page_after: Pages,
) -> Result<HttpResponse, ApiError>
where
    T: CsvRow + Serialize + 'static,
    Pages: Fn(Option<String>) -> Fetched + 'static,
    Fetched: Future<Output = Result<Page<T>, ApiError>> + 'static,
{
    let first = page_after(None).await?;
    let head = format.head::<T>()?;
    let context = request_context::current();
    let pages = stream::try_unfold((head, Some(first)), move |(mut bytes, page)| {
        let rest = page.map(|page| (page.data, page.next_cursor.map(|cursor| page_after(Some(cursor)))));
        let chunk = async move {
            let Some((rows, next)) = rest else {
                return Ok(None);
            };
            bytes.append(&mut format.lines(&rows)?);
            let next = match next {
                Some(next) => Some(next.await?),
                None => None,
            };
            Ok(Some((Bytes::from(bytes), (Vec::new(), next))))
        };
        request_context::within(context.clone(), async {
            chunk.await.map_err(|error| broke_off(&error))
        })
    });
    let disposition = format!("attachment; filename=\"{name}.{}\"", format.extension());
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, format.content_type()))
        .insert_header((header::CONTENT_DISPOSITION, disposition))
        .streaming(pages))
}

/// The answer has begun, so nothing else can be answered; the connection is closed.
fn broke_off(error: &ApiError) -> io::Error {
    tracing::warn!(error = %error, "an export broke off");
    io::Error::other("the export broke off")
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body;

    #[derive(Serialize)]
    struct Note {
        id: u32,
        text: &'static str,
    }

    impl CsvRow for Note {
        const NAMES: &'static [&'static str] = &["id", "text"];

        fn cells(&self) -> Vec<String> {
            vec![self.id.to_string(), text_cell(self.text)]
        }
    }

    const NOTES: [Note; 3] = [
        Note {
            id: 1,
            text: "=HYPERLINK(\"x\")",
        },
        Note {
            id: 2,
            text: "two, \"quoted\"",
        },
        Note {
            id: 3,
            text: "−5 is no formula",
        },
    ];

    /// Two pages, the second of them empty, and a third.
    async fn page(after: Option<String>) -> Result<Page<Note>, ApiError> {
        let [one, two, three] = NOTES;
        let (data, next) = match after.as_deref() {
            None => (vec![one, two], Some("a")),
            Some("a") => (vec![], Some("b")),
            _ => (vec![three], None),
        };
        let next_cursor = next.map(str::to_owned);
        Ok(Page { data, next_cursor })
    }

    async fn export(format: Format) -> String {
        let response = respond("notes", format, page).await.unwrap();
        let body = body::to_bytes(response.into_body()).await;
        let body = body.unwrap_or_else(|_| panic!("the body broke off"));
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[actix_web::test]
    async fn every_page_is_in_the_file() {
        assert_eq!(
            export(Format::Csv).await,
            "id,text\r\n1,\"'=HYPERLINK(\"\"x\"\")\"\r\n2,\"two, \"\"quoted\"\"\"\r\n3,−5 is no formula\r\n"
        );
        assert_eq!(
            export(Format::Ndjson).await,
            "{\"id\":1,\"text\":\"=HYPERLINK(\\\"x\\\")\"}\n{\"id\":2,\"text\":\"two, \\\"quoted\\\"\"}\n{\"id\":3,\"text\":\"−5 is no formula\"}\n"
        );
    }

    #[actix_web::test]
    async fn an_empty_file_has_its_names() {
        let nothing = async |_| {
            Ok(Page::<Note> {
                data: vec![],
                next_cursor: None,
            })
        };
        let response = respond("notes", Format::Csv, nothing).await.unwrap();
        let disposition = response.headers().get(header::CONTENT_DISPOSITION).unwrap();
        assert_eq!(disposition, "attachment; filename=\"notes.csv\"");
        let body = body::to_bytes(response.into_body()).await.unwrap_or_default();
        assert_eq!(body, "id,text\r\n");
    }

    #[actix_web::test]
    async fn what_breaks_off_is_no_whole_body() {
        let failing = async |after: Option<String>| match after {
            None => page(None).await,
            Some(_) => Err(ApiError::unavailable("gone", "Gone.")),
        };
        let response = respond("notes", Format::Csv, failing).await.unwrap();
        assert!(body::to_bytes(response.into_body()).await.is_err());
        let never = async |_| Err::<Page<Note>, _>(ApiError::unavailable("gone", "Gone."));
        assert_eq!(
            respond("notes", Format::Csv, never).await.unwrap_err().code(),
            "gone"
        );
    }
}
