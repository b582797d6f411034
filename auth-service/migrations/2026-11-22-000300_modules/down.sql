DROP FUNCTION switch_module;
DROP TABLE modules;
