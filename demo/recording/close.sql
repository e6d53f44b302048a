\set a random(1, 11000)
\set b random(1, 11000)
BEGIN;
UPDATE tickets SET done = true, "Notes" = notes(:b) WHERE id = ticket(:a);
DELETE FROM tickets WHERE id = ticket(:b);
COMMIT;
