-- A check that was validated stays so.
SELECT 1;
