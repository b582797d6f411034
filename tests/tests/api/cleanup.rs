//! The job that removes what has ended, as the role that the service itself has.

use auth_service::cleanup::ENDED;
use platform::Platform;
use serde_json::json;
use shared::Role;

/// A row of each table that ended long ago, and a successor that is of no use any more.
const OLD_ROWS: &str = "
    SET search_path = auth;
    INSERT INTO sessions (id, secret_hash, user_id, created_at, last_used_at, expires_at, idle_expires_at)
        SELECT gen_random_uuid(), sha256('old'), id, now() - interval '500 days', now() - interval '500 days',
            now() - interval '400 days', now() - interval '400 days' FROM users LIMIT 1;
    INSERT INTO refresh_tokens (token_hash, session_id, created_at, used_at, successor_sealed)
        SELECT sha256(age::text::bytea), id, now() - age, now() - age, sha256('sealed')
        FROM (SELECT id FROM sessions WHERE idle_expires_at > now() LIMIT 1) AS live,
            (VALUES (interval '400 days'), (interval '1 hour')) AS ages (age);
    INSERT INTO login_attempts (email_hash, failures, last_attempt_at)
        VALUES (sha256('old'), 1, now() - interval '400 days');
    INSERT INTO passkey_ceremonies (id, purpose, state, expires_at)
        VALUES (gen_random_uuid(), 'login', '{}', now() - interval '400 days');
    INSERT INTO pending_logins (id, secret_hash, user_id, amr, enrolling, created_at, expires_at)
        SELECT gen_random_uuid(), sha256('old'), id, '{pwd}', false, now() - interval '500 days',
            now() - interval '400 days' FROM users LIMIT 1;
    INSERT INTO two_factor_methods (id, user_id, kind, secret_encrypted, created_at)
        SELECT gen_random_uuid(), id, 'totp', sha256('secret'), now() FROM users LIMIT 1;
    INSERT INTO two_factor_codes (method_id, asked_by, code_hash, attempts_left, expires_at)
        SELECT id, sha256('session'), sha256('code'), 5, now() - interval '400 days' FROM two_factor_methods;
    INSERT INTO remembered_devices (token_hash, user_id, created_at, expires_at)
        SELECT sha256('old'), id, now() - interval '500 days', now() - interval '400 days' FROM users LIMIT 1;
    INSERT INTO two_factor_attempts (user_id, failures, last_attempt_at)
        SELECT id, 1, now() - interval '400 days' FROM users LIMIT 1;
    INSERT INTO api_keys (id, kind, user_id, name_encrypted, secret_hash, scopes, created_at, expires_at)
        SELECT gen_random_uuid(), 'api_key', id, sha256('name'), sha256('old'), '{read}', now() - interval '500 days',
            now() - interval '400 days' FROM users LIMIT 1;
    INSERT INTO revocations (number, id, revoked_at)
        VALUES (1000000, gen_random_uuid(), now() - interval '400 days');
    INSERT INTO messages (id, channel, kind, status, created_at, next_attempt_at, expires_at, ended_at)
        SELECT gen_random_uuid(), 'email', 'old', 'sent', old, old, old, old FROM (SELECT now() - interval '400 days' AS old) AS times;
    INSERT INTO one_time_tokens (token_hash, purpose, user_id, email_hash, created_at, expires_at)
        SELECT sha256('old'), 'login_link', id, sha256('e-mail'), now() - interval '500 days',
            now() - interval '400 days' FROM users LIMIT 1;
    INSERT INTO social_logins (state_hash, browser_hash, provider, callback, created_at, expires_at)
        VALUES (sha256('old'), sha256('browser'), 'google', '/', now() - interval '500 days', now() - interval '400 days');
    INSERT INTO throttles (key, uses, ends_at) VALUES (sha256('old'), 1, now() - interval '400 days');
    INSERT INTO cache_invalidations (key, created_at) VALUES (sha256('old'), now() - interval '400 days');
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_is_removed_from_every_table_and_nothing_else() {
    let platform = Platform::start().await;
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let on = json!({ "enabled": true });
    admin
        .put("/api/v1/auth/modules/two-factor", on)
        .await
        .must_be(200);
    let sql = platform.sql().await;
    sql.batch_execute(OLD_ROWS).await.unwrap();
    let old = async || {
        let mut counts = Vec::new();
        for ended in &ENDED {
            let before = platform.clock.now() - ended.keep;
            let count = format!(
                "SELECT count(*) FROM auth.{} WHERE {} < $1",
                ended.table, ended.time
            );
            let count: i64 = sql.query_one(&count, &[&before]).await.unwrap().get(0);
            counts.push((ended.table, count));
        }
        counts
    };
    for (table, count) in old().await {
        assert!(count > 0, "there is nothing old in {table}");
    }
    // Of one table nothing can be removed, which is nothing to the others.
    sql.batch_execute("REVOKE DELETE ON auth.sessions FROM auth_runtime")
        .await
        .unwrap();
    platform.clean_up().await.unwrap();
    for (table, count) in old().await {
        assert_eq!(count > 0, table == "sessions", "{count} are left in {table}");
    }
    sql.batch_execute("GRANT DELETE ON auth.sessions TO auth_runtime")
        .await
        .unwrap();
    platform.clean_up().await.unwrap();
    assert!(old().await.iter().all(|(_, count)| *count == 0));

    let sealed = "SELECT count(successor_sealed), count(used_at) FROM auth.refresh_tokens";
    let sealed = sql.query_one(sealed, &[]).await.unwrap();
    assert_eq!((sealed.get::<_, i64>(0), sealed.get::<_, i64>(1)), (0, 1));
    admin.get("/api/v1/auth/me").await.must_be(200);
    platform.stop().await.unwrap();
}
