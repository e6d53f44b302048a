-- One transaction of the load: pgbench runs it over and over, with several clients at once.
\set kind random(1, 100)
\set r random(1, 1000000000000)
\set here random(0, 10000)
\set there random(0, 10000)
\if :kind <= 30
-- New rows, many at once.
INSERT INTO item (account, owner, title, price, score, done, due, seen)
SELECT d.* FROM generate_series(:r, :r + :kind / 3) AS r, drawn(r) AS d;
\elif :kind <= 50
-- Rows change in every column: the shapes of the old record and of the new one are others.
UPDATE item SET (account, owner, title, price, score, done, due, seen) =
  (SELECT d.* FROM drawn(:r + item.id) AS d)
WHERE id IN (SELECT picked(:here, 6));
\elif :kind <= 70
-- One column after the other, several rows, a row more than once: one transaction.
BEGIN;
UPDATE item SET account = (SELECT d.account FROM drawn(:r + item.id) AS d)
WHERE id IN (SELECT picked(:here, 3));
UPDATE item SET done = NOT done, price = price * 1.0, score = -score
WHERE id IN (SELECT picked(:here, 2));
UPDATE item SET (title, due) = (SELECT d.title, d.due FROM drawn(:r + item.id) AS d)
WHERE id IN (SELECT picked(:there, 3));
COMMIT;
\elif :kind <= 85
DELETE FROM item WHERE id IN (SELECT picked(:here, 12));
\elif :kind <= 95
-- All kinds together; what comes after the savepoint never happened.
BEGIN;
INSERT INTO item (account, owner, title, price, score, done, due, seen)
SELECT d.* FROM generate_series(:r, :r + 2) AS r, drawn(r) AS d;
UPDATE item SET (owner, seen) = (SELECT d.owner, d.seen FROM drawn(:r + item.id) AS d)
WHERE id IN (SELECT picked(:here, 4));
SAVEPOINT there;
DELETE FROM item WHERE id IN (SELECT picked(:there, 5));
ROLLBACK TO there;
DELETE FROM item WHERE id IN (SELECT picked(:there, 2));
COMMIT;
\elif :kind <= 98
-- The row is the same before and after: still a change.
UPDATE item SET title = title WHERE id IN (SELECT picked(:here, 1));
\else
BEGIN;
DELETE FROM item WHERE id IN (SELECT picked(:here, 20));
ROLLBACK;
\endif
