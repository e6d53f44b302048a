-- Decides which shapes every change should have reached, and compares. Nothing that our code read
-- or compared is used: records are the rows that a trigger kept, a shape's constant is the text
-- that was given for it, and both are of the column's type when `=` compares them.
SET client_min_messages = warning;
SET work_mem = '256MB';

CREATE UNLOGGED TABLE streamed (n bigint, xid bigint, place bigint, kind text, time bigint);
CREATE UNLOGGED TABLE routed (n bigint, shape text);
CREATE UNLOGGED TABLE life (shape text, field text, literal bytea, born bigint, died bigint);
\copy streamed FROM 'streamed.tsv'
\copy routed FROM 'routed.tsv'
\copy life FROM 'life.tsv'

-- What happened and what was streamed, side by side: in a transaction, in the order of happening.
CREATE UNLOGGED TABLE change AS
SELECT n, xid, place, s.kind AS streamed, h.kind, old, new
FROM streamed s
FULL JOIN (
  SELECT *, row_number() OVER (PARTITION BY xid ORDER BY seq) AS place FROM history
) h USING (xid, place);

CREATE UNLOGGED TABLE record AS
  SELECT n, (new).* FROM change WHERE kind IN ('insert', 'update') AND n IS NOT NULL
  UNION ALL
  SELECT n, (old).* FROM change WHERE kind IN ('update', 'delete') AND n IS NOT NULL;
ANALYZE record, life;

-- Changes that a shape matches, be it in its life or next to it, by one query for each column of the
-- table, with the column's type in it.
CREATE UNLOGGED TABLE met (n bigint, shape text, field text, born bigint, died bigint);
SELECT format($format$
  WITH shape AS MATERIALIZED (
    SELECT shape, convert_from(literal, 'UTF8')::%2$s AS constant, born, died
    FROM life WHERE field = %1$L
  )
  INSERT INTO met
  SELECT DISTINCT n, shape, %1$L, born, died
  FROM record JOIN shape ON record.%1$I = constant AND n >= born - 1 AND n <= died
  $format$, attname, format_type(atttypid, atttypmod))
FROM pg_attribute WHERE attrelid = 'item'::regclass AND attnum > 0 AND attname <> 'id'
\gexec

CREATE UNLOGGED TABLE expected AS
  SELECT n, shape, field, born, died FROM met WHERE n >= born AND n < died;

CREATE UNLOGGED TABLE difference AS
  SELECT 'missing' AS what, * FROM (
    SELECT n, shape FROM expected EXCEPT ALL SELECT n, shape FROM routed) AS missing
  UNION ALL
  SELECT 'surplus', * FROM (
    SELECT n, shape FROM routed EXCEPT ALL SELECT n, shape FROM expected) AS surplus;

-- The answer, for a program: name, value.
SELECT 'type', attname, format_type(atttypid, atttypmod), count(expected.n)
FROM pg_attribute LEFT JOIN expected ON field = attname
WHERE attrelid = 'item'::regclass AND attnum > 0 AND attname <> 'id'
GROUP BY attnum, attname, atttypid, atttypmod ORDER BY attnum;
SELECT 'expected', count(*) FROM expected;
SELECT 'edge', count(*) FROM expected WHERE n = born OR n = died - 1;
SELECT 'miss', count(*) FROM (
  SELECT n, shape FROM met EXCEPT SELECT n, shape FROM expected) AS missed;
-- How long the index took for a change, in nanoseconds.
SELECT 'time', sum(time), percentile_disc(0.5) WITHIN GROUP (ORDER BY time),
  percentile_disc(0.99) WITHIN GROUP (ORDER BY time), max(time) FROM streamed HAVING count(*) > 0;
SELECT 'unstreamed', count(*) FROM change WHERE streamed IS DISTINCT FROM kind;
SELECT 'missing', count(*) FROM difference WHERE what = 'missing';
SELECT 'surplus', count(*) FROM difference WHERE what = 'surplus';

-- The first few of what is wrong, for a person.
SELECT 'detail', format('change %s: streamed as %s, but was %s (transaction %s, change %s)',
  coalesce(n::text, '?'), coalesce(streamed, 'nothing'), coalesce(kind, 'nothing'), xid, place)
FROM change WHERE streamed IS DISTINCT FROM kind ORDER BY xid, place LIMIT 5;
SELECT 'detail', replace(format('change %s: shape %s is %s (%s); %s from %s to %s', d.n, d.shape,
  what, lives, kind, old, new), E'\n', '\n')
FROM (SELECT * FROM difference ORDER BY n, what, shape LIMIT 10) AS d
LEFT JOIN change USING (n)
CROSS JOIN LATERAL (
  SELECT string_agg(format('%s = %L from %s to before %s',
    field, convert_from(literal, 'UTF8'), born, died), ', ') AS lives
  FROM life WHERE life.shape = d.shape) AS life
ORDER BY d.n, what, d.shape;
