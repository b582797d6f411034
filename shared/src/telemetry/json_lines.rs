//! A log line as one flat JSON object: `time`, `level`, `service`, `target`, `message`, the event's own fields, and those of
//! the spans around it, so that every line of a request has its `request_id` and `trace_id`.

use std::fmt;

use chrono::SecondsFormat;
use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::Clock;

pub struct JsonLines {
    /// Whose lines they are, unless a span says otherwise.
    pub service: &'static str,
}

/// `N` writes fields as a JSON object.
impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Map::new();
        line.insert("service".to_owned(), self.service.into());
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                add(&mut line, &fields.fields);
            }
        }
        let mut fields = String::new();
        context.format_fields(Writer::new(&mut fields), event)?;
        add(&mut line, &fields);
        let metadata = event.metadata();
        line.insert("target".to_owned(), metadata.target().into());
        settle_log_records(&mut line);
        let now = Clock::system().now().to_rfc3339_opts(SecondsFormat::Micros, true);
        line.insert("time".to_owned(), now.into());
        line.insert("level".to_owned(), metadata.level().as_str().into());
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// Events of libraries that use the `log` crate say where they come from in members of their own.
fn settle_log_records(line: &mut Map<String, Value>) {
    if let Some(target) = line.remove("log.target") {
        line.insert("target".to_owned(), target);
    }
    for member in ["log.module_path", "log.file", "log.line"] {
        line.remove(member);
    }
}

fn add(line: &mut Map<String, Value>, fields: &str) {
    if let Ok(Value::Object(fields)) = serde_json::from_str(fields) {
        line.extend(fields);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_flat_and_names_the_request_around_it() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(JsonLines { service: "gateway" })
            .with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("request", request_id = "req_1", level = "forged").in_scope(|| {
                tracing::info_span!("inner", service = "auth-service")
                    .in_scope(|| tracing::warn!(status = 503, "two\nlines"));
            });
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        let expected = [
            ("level", Value::from("WARN")),
            ("message", "two\nlines".into()),
            ("request_id", "req_1".into()),
            ("service", "auth-service".into()),
            ("status", 503.into()),
        ];
        for (member, value) in expected {
            assert_eq!(line.get(member), Some(&value), "{member} of {text}");
        }
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{text}");
    }
}
