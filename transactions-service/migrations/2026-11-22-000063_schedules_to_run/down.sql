DROP INDEX CONCURRENTLY schedules_to_run;
