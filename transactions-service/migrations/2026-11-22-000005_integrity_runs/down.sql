DROP TABLE integrity_runs;
