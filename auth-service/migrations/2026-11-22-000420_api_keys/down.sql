DROP FUNCTION revoke_access_token;
DROP TABLE api_keys;
