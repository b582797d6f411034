DROP TABLE pattern_parameters;
