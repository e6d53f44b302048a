-- The table whose changes are routed, the values that it and the shapes draw from, and what the
-- database itself keeps of every change, for the check at the end. Wants the variable pool.
SET client_min_messages = warning;

-- Of all that the stream prints, only instants depend on a setting. The offset is no whole hour.
ALTER DATABASE :"DBNAME" SET timezone = 'Asia/Kolkata';
SET timezone = 'Asia/Kolkata';

-- Rows draw from the first :pool values of each column, shapes from some more, which never come.
-- The first dozen are those that text and types get wrong most easily; some are null.
CREATE UNLOGGED TABLE pool AS
SELECT
  k,
  CASE
    WHEN k % 40 = 39 THEN NULL
    WHEN k < 4 THEN ('{0,-1,9223372036854775807,-9223372036854775808}'::int8[])[k + 1]
    WHEN k % 7 = 0 THEN -k::int8
    ELSE 4000000000 + 37 * k::int8
  END AS account,
  CASE WHEN k % 40 <> 38 THEN md5('owner ' || k)::uuid END AS owner,
  CASE
    WHEN k % 40 = 37 THEN NULL
    WHEN k < 16 THEN (ARRAY[
      '', ' ', 'null', '''', 'it''s', 'say "hi"', 'C:\new\table', E'two\nlines', E'tab\there',
      E'end''\nCOMMIT 7', 'x[text]:''1'' new-tuple: y[text]:null', 'unchanged-toast-datum',
      '東京 太郎', 'crab 🦀', E'Zoe\u0308', 'Zoë'
    ])[k + 1]
    -- Long enough to be stored apart from the row: an update that leaves it alone does not send it.
    WHEN k % 100 = 16 THEN repeat(md5('title ' || k), 100)
    WHEN k % 9 = 0 THEN k || E' isn''t\n"plain"'
    ELSE 'title ' || k
  END AS title,
  CASE
    WHEN k % 40 = 36 THEN NULL
    WHEN k < 8 THEN
      ('{NaN,Infinity,-Infinity,0.00,-1,1e40,1e-20,12345678901234567890.5}'::numeric[])[k + 1]
    WHEN k % 3 = 0 THEN -0.250 * k
    ELSE 0.125 * k
  END AS price,
  CASE
    WHEN k % 40 = 35 THEN NULL
    WHEN k < 8 THEN
      ('{NaN,Infinity,-Infinity,-0,1e300,5e-324,0.1,9007199254740993}'::float8[])[k + 1]
    WHEN k % 3 = 0 THEN k / 3.0::float8
    WHEN k % 3 = 1 THEN k * 0.1::float8
    ELSE k * -1e-9::float8
  END AS score,
  CASE k % 8 WHEN 0 THEN true WHEN 1 THEN false END AS done,
  CASE
    WHEN k % 40 = 34 THEN NULL
    WHEN k < 4 THEN ('{infinity,-infinity,0044-03-15 BC,12000-02-29}'::date[])[k + 1]
    ELSE '2000-02-28'::date + k
  END AS due,
  CASE
    WHEN k % 40 = 33 THEN NULL
    WHEN k < 4 THEN (ARRAY[
      'infinity', '-infinity', '0044-03-15 12:00:00+00 BC', '12000-02-29 23:59:59.999999+00'
    ]::timestamptz[])[k + 1]
    WHEN k % 2 = 0 THEN '2020-02-28 00:00:00+00'::timestamptz + k * interval '37 minutes'
    ELSE '2020-02-28 00:00:00+00'::timestamptz + k * interval '0.000001 seconds'
  END AS seen
FROM generate_series(0, :pool * 5 / 4 - 1) AS k;
ALTER TABLE pool ADD PRIMARY KEY (k);
ANALYZE pool;

-- Every value in two spellings of one and the same: a shape's constant is whatever a user wrote.
CREATE VIEW spelling AS
SELECT * FROM (
  SELECT 'account', account::text, CASE WHEN abs(account::numeric) < 1e12
    THEN regexp_replace(account::text, '^(-?)', '\100') ELSE account::text END FROM pool
  UNION ALL SELECT 'owner', owner::text, upper(replace(owner::text, '-', '')) FROM pool
  UNION ALL SELECT 'title', title, title FROM pool
  UNION ALL SELECT 'price', trim_scale(price)::text,
    CASE WHEN abs(price) < 1e9 AND price = round(price, 3) THEN round(price * 1000) || 'e-3'
         ELSE price::text END FROM pool
  UNION ALL SELECT 'score', score::text,
    CASE WHEN score = 0 THEN '0.000' WHEN score::text ~ '^[-0-9.]+$' THEN score || 'E+0'
         ELSE score::text END FROM pool
  UNION ALL SELECT 'done', done::text, left(done::text, 1) FROM pool
  UNION ALL SELECT 'due', due::text, due::text FROM pool
  UNION ALL SELECT 'seen', seen::text,
    CASE WHEN seen BETWEEN '2000-01-01' AND '3000-01-01'
         THEN replace((seen AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' ELSE seen::text END FROM pool
) AS spelling (field, one, other) WHERE one IS NOT NULL;

CREATE TABLE item (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account int8, owner uuid, title text, price numeric,
  score float8, done bool, due date, seen timestamptz
);

-- Updates and deletes show the whole row as it was: the shapes that it leaves are to hear of it.
ALTER TABLE item REPLICA IDENTITY FULL;
ALTER TABLE item ALTER title SET STORAGE EXTERNAL;

-- Which value the r-th draw takes for a column: small numbers more often than large ones.
SELECT format($format$
  CREATE FUNCTION draw(r bigint, col int) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT floor(%s * power((hashint8extended(r, col) & 1073741823) / 1073741824.0::float8, 3))::int
  $$ $format$, :pool)
\gexec

-- The columns of one row, each drawn for itself.
CREATE FUNCTION drawn(r bigint) RETURNS TABLE (
  account int8, owner uuid, title text, price numeric,
  score float8, done bool, due date, seen timestamptz
) LANGUAGE sql STABLE AS $$
  SELECT
    (SELECT p.account FROM pool p WHERE k = draw(r, 1)),
    (SELECT p.owner FROM pool p WHERE k = draw(r, 2)),
    (SELECT p.title FROM pool p WHERE k = draw(r, 3)),
    (SELECT p.price FROM pool p WHERE k = draw(r, 4)),
    (SELECT p.score FROM pool p WHERE k = draw(r, 5)),
    (SELECT p.done FROM pool p WHERE k = draw(r, 6)),
    (SELECT p.due FROM pool p WHERE k = draw(r, 7)),
    (SELECT p.seen FROM pool p WHERE k = draw(r, 8))
$$;

-- Some rows next to each other, of the latest 10 000, that no other transaction holds: nobody waits,
-- so there are no deadlocks.
CREATE FUNCTION picked(back int, count int) RETURNS SETOF bigint ROWS 8 LANGUAGE sql AS $$
  SELECT id FROM item WHERE id >= (SELECT last_value - back FROM item_id_seq)
  ORDER BY id LIMIT count FOR UPDATE SKIP LOCKED
$$;

INSERT INTO item (account, owner, title, price, score, done, due, seen)
SELECT d.* FROM generate_series(1, 10000) AS r, drawn(-r) AS d;
ANALYZE item;

-- What happened, as the database knows it: no text, nothing of the stream. Being unlogged, it is not
-- in the stream either, and a transaction that is rolled back leaves nothing.
CREATE UNLOGGED TABLE history (
  seq bigint GENERATED ALWAYS AS IDENTITY, xid bigint, kind text, old item, new item
);

CREATE FUNCTION keep_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO history (xid, kind, old, new)
  VALUES (pg_current_xact_id()::text::bigint, lower(TG_OP), OLD, NEW);
  RETURN NULL;
END $$;

CREATE TRIGGER keep_history AFTER INSERT OR UPDATE OR DELETE ON item
FOR EACH ROW EXECUTE FUNCTION keep_history();

-- A row here says that nothing follows. A client that was stopped may still be in a transaction.
CREATE TABLE finish (id int);

CREATE PROCEDURE finish() LANGUAGE plpgsql AS $$
BEGIN
  WHILE EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'pgbench') LOOP
    PERFORM pg_sleep(0.02), pg_stat_clear_snapshot();
  END LOOP;
  INSERT INTO finish VALUES (1);
END $$;

SELECT pg_create_logical_replication_slot('live', 'test_decoding') \g /dev/null
