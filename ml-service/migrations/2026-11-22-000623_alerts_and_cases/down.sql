DROP TABLE job_positions, case_history, alerts, cases;
