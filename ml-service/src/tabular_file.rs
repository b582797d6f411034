//! Rows of numbers and words from a file: CSV, also compressed by zstd, gzip or in a ZIP archive. Whatever is wrong is said
//! with the file, the line and the column.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// A file of one header line and rows.
pub struct TabularFile {
    path: PathBuf,
    reader: csv::Reader<Box<dyn Read>>,
    headers: Vec<String>,
}

/// A row, and where it stands.
pub struct Row<'a> {
    path: &'a Path,
    line: u64,
    headers: &'a [String],
    record: &'a csv::StringRecord,
}

impl TabularFile {
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Self::of(path, decompressed(path, None)?)
    }

    /// The file called `name` in the ZIP archive `path`, in whichever folder.
    pub fn open_in_archive(path: &Path, name: &str) -> anyhow::Result<Self> {
        Self::of(path, decompressed(path, Some(name))?)
    }

    pub fn of(path: &Path, content: Box<dyn Read>) -> anyhow::Result<Self> {
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(content);
        let headers = reader
            .headers()
            .with_context(|| format!("{}: no header", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            headers: headers.iter().map(str::to_owned).collect(),
            reader,
        })
    }

    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// The place of the column `name`.
    pub fn column(&self, name: &str) -> anyhow::Result<usize> {
        let place = self.headers.iter().position(|header| header == name);
        place.with_context(|| {
            format!(
                "{}, line 1: there is no column {name}, only {}",
                self.path.display(),
                self.headers.join(", ")
            )
        })
    }

    /// Gives each row to `visit`.
    pub fn for_each(mut self, mut visit: impl FnMut(&Row<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut record = csv::StringRecord::new();
        loop {
            let line = self.reader.position().line();
            match self.reader.read_record(&mut record) {
                Ok(false) => return Ok(()),
                Ok(true) => {}
                Err(error) => bail!("{}, line {line}: {}", self.path.display(), what(&error)),
            }
            let line = record.position().map_or(line, csv::Position::line);
            visit(&Row {
                path: &self.path,
                line,
                headers: &self.headers,
                record: &record,
            })?;
        }
    }
}

/// Without the place, which is said in our own way.
fn what(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!("{len} columns instead of {expected_len}")
        }
        csv::ErrorKind::Utf8 { err, .. } => format!("column {}: not UTF-8", err.field() + 1),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}

impl Row<'_> {
    pub fn text(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default()
    }

    /// What `parse` makes of a field; the error says where it is and what was `expected`.
    pub fn parse<T>(
        &self,
        column: usize,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> anyhow::Result<T> {
        let text = self.text(column);
        parse(text).with_context(|| {
            let name = self.headers.get(column).map_or("?", String::as_str);
            let found: String = text.chars().take(40).collect();
            let path = self.path.display();
            format!(
                "{path}, line {}, column {name}: expected {expected}, found {found:?}",
                self.line
            )
        })
    }

    pub fn integer(&self, column: usize) -> anyhow::Result<i64> {
        self.parse(column, "a whole number", |text| text.parse().ok())
    }

    /// A finite number; NaN for an empty field or `NA`.
    pub fn number_or_missing(&self, column: usize) -> anyhow::Result<f64> {
        self.parse(column, "a number", |text| match text {
            "" | "NA" | "nan" | "NaN" => Some(f64::NAN),
            _ => text.parse().ok().filter(|number: &f64| number.is_finite()),
        })
    }

    pub fn flag(&self, column: usize) -> anyhow::Result<bool> {
        self.parse(column, "0 or 1", |text| match text {
            "0" | "0.0" | "false" => Some(false),
            "1" | "1.0" | "true" => Some(true),
            _ => None,
        })
    }
}

fn decompressed(path: &Path, name: Option<&str>) -> anyhow::Result<Box<dyn Read>> {
    let context = || format!("{} cannot be read", path.display());
    let file = BufReader::with_capacity(1 << 20, File::open(path).with_context(context)?);
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    Ok(match extension {
        "zst" => Box::new(BufReader::with_capacity(
            1 << 20,
            ruzstd::decoding::StreamingDecoder::new(file)
                .map_err(io::Error::other)
                .with_context(context)?,
        )),
        "gz" => Box::new(BufReader::with_capacity(
            1 << 20,
            flate2::bufread::MultiGzDecoder::new(file),
        )),
        "zip" => {
            let mut archive = zip::ZipArchive::new(file).with_context(context)?;
            let name = name.unwrap_or(".csv");
            let found = archive.file_names().flatten().find(|file| file.ends_with(name));
            let found = found.map(Cow::into_owned);
            let found = found.with_context(|| format!("{} has no file {name}", path.display()))?;
            let mut content = Vec::new();
            archive
                .by_name(&found)
                .with_context(context)?
                .read_to_end(&mut content)
                .with_context(context)?;
            Box::new(io::Cursor::new(content))
        }
        _ => Box::new(file),
    })
}
