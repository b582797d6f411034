DROP TABLE social_logins;
DROP TABLE social_accounts;
