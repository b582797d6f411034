//! Backups that are not what they should be: each damage is done, must be noticed by the script that is named, must leave
//! no data directory behind, and is undone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::{DateTime, Utc};
use platform::programs;

use super::backups::Backups;
use super::comparison::Target;

pub struct Alarm {
    pub damage: &'static str,
    /// What noticed it.
    pub noticed_by: &'static str,
    pub problem: Option<String>,
}

/// Packs a base backup again in which eight bytes of a table are others, with digests to match: what only
/// PostgreSQL's own manifest can tell.
const TAMPER: &str = r#"
set -euo pipefail
cd "$BACKUP_STAGING_DIRECTORY"
mkdir tampered
age --decrypt --identity "$BACKUP_IDENTITY_FILE" "$1/data.tar.zst.age" | zstd --quiet --decompress --stdout | tar --extract --directory tampered
table=$(find tampered/base -type f -size +64k | sort | head -n 1)
printf tampered | dd of="$table" bs=1 seek=20000 conv=notrunc status=none
tar --create --directory tampered . | zstd --quiet --stdout | age --encrypt --recipients-file "$BACKUP_RECIPIENTS_FILE" >"$1/data.tar.zst.age"
rm -rf tampered
digest=$(sha256sum <"$1/data.tar.zst.age")
sed -i -e "s/^bytes=.*/bytes=$(stat --format %s "$1/data.tar.zst.age")/" -e "s/^sha256=.*/sha256=${digest%% *}/" "$1/info"
"#;

pub async fn ring(backups: &Backups, moment: DateTime<Utc>) -> anyhow::Result<Vec<Alarm>> {
    let moment = Target::Moment(moment).to_string();
    let destination = place_of_refused(backups).display().to_string();
    let restore = |to| ["--to", to, &destination];
    let mut alarms = Vec::new();

    // Between the base backup and the moment.
    let segment = segment_after_the_base_backup(backups)?;
    let hidden = backups.directory().join("hidden");
    fs::rename(&segment, &hidden)?;
    let damage = "a segment of the log is missing";
    alarms.push(expect(backups, damage, "verify-archive.sh", &[], "missing from").await);
    let gap = restore(&moment);
    alarms.push(expect(backups, damage, "restore-backup.sh", &gap, "a gap").await);
    let latest = restore("latest");
    alarms.push(
        expect(
            backups,
            damage,
            "restore-backup.sh",
            &latest,
            "cannot be followed",
        )
        .await,
    );
    fs::rename(&hidden, &segment)?;

    let intact = flip_a_byte(&segment)?;
    let damage = "a segment of the log is damaged";
    let contents = ["--contents"];
    alarms.push(expect(backups, damage, "verify-archive.sh", &contents, "is damaged").await);
    alarms.push(expect(backups, damage, "restore-backup.sh", &gap, "cannot be decrypted").await);
    fs::write(&segment, intact)?;

    let base = backups.base_backup()?;
    let archive = base.join("data.tar.zst.age");
    let info = base.join("info");
    let (intact_archive, intact_info) = (fs::read(&archive)?, fs::read(&info)?);
    flip_a_byte(&archive)?;
    let damage = "the base backup is damaged";
    alarms.push(expect(backups, damage, "verify-archive.sh", &contents, "is damaged").await);
    alarms.push(expect(backups, damage, "restore-backup.sh", &latest, "is damaged").await);
    fs::write(&archive, &intact_archive)?;

    let mut tamper = backups.command("/usr/bin/env")?;
    tamper.args(["bash", "-c", TAMPER, "tamper"]).arg(&base);
    programs::finish(tamper).await?;
    let damage = "another base backup, digests to match";
    alarms.push(expect(backups, damage, "restore-backup.sh", &latest, "checksum mismatch").await);
    fs::write(&archive, &intact_archive)?;
    fs::write(&info, intact_info)?;

    let later = restore("2999-01-01 00:00:00+00");
    let damage = "the moment is later than the log";
    alarms.push(
        expect(
            backups,
            damage,
            "restore-backup.sh",
            &later,
            "before configured recovery target",
        )
        .await,
    );
    Ok(alarms)
}

async fn expect(
    backups: &Backups,
    damage: &'static str,
    script: &'static str,
    arguments: &[&str],
    message: &str,
) -> Alarm {
    let problem = match backups.run(script, arguments).await {
        Ok(said) => Some(format!("succeeds: {said}")),
        Err(error) => {
            let said = format!("{error:#}");
            (!said.contains(message)).then(|| format!("says: {said}"))
        }
    };
    let problem = problem.or_else(|| {
        let left = place_of_refused(backups).exists();
        left.then(|| "leaves a data directory behind".to_owned())
    });
    let problem = problem.map(|what| format!("{damage}, and {script} {} {what}", arguments.join(" ")));
    Alarm {
        damage,
        noticed_by: script,
        problem,
    }
}

/// Where the restores go that must not be.
fn place_of_refused(backups: &Backups) -> PathBuf {
    backups.directory().join("refused")
}

fn segment_after_the_base_backup(backups: &Backups) -> anyhow::Result<PathBuf> {
    let last = backups.base_backup_info("last_segment")?;
    let entries = fs::read_dir(backups.repository().join("wal"))?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let later = names.filter(|name| {
        let segment = name.strip_suffix(".zst.age");
        segment.is_some_and(|segment| segment.len() == 24 && segment > last.as_str())
    });
    let next = later.min().context("no segment after the base backup")?;
    Ok(backups.repository().join("wal").join(next))
}

/// Returns the content from before.
fn flip_a_byte(file: &Path) -> anyhow::Result<Vec<u8>> {
    let intact = fs::read(file)?;
    let mut damaged = intact.clone();
    let middle = damaged.len() / 2;
    let byte = damaged.get_mut(middle).context("an empty file")?;
    *byte ^= 1;
    fs::write(file, damaged)?;
    Ok(intact)
}
