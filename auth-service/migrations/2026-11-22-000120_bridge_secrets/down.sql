DROP TABLE instance_settings;
DROP TABLE bridge_secrets;
