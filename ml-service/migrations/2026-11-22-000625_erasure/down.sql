DROP FUNCTION erase_person;
