// Word count in DuckDB. Usage: node duckdb.js FILE THREADS   (package @duckdb/node-api in build/bench)
const { DuckDBInstance } = require("@duckdb/node-api");

async function main() {
  const [path, threads] = process.argv.slice(2);
  const instance = await DuckDBInstance.create(":memory:", { threads });
  const connection = await instance.connect();
  const result = await connection.runAndReadAll(`
    SELECT word, count(*) AS n FROM (
      SELECT unnest(regexp_extract_all(line, '[A-Za-z]+')) AS word
      FROM read_csv('${path}', header = false, columns = { line: 'VARCHAR' }, delim = '\x01', quote = '',
                    escape = '', auto_detect = false, strict_mode = false))
    GROUP BY word`);
  process.stdout.write(result.getRows().map(([word, n]) => `${word} ${n}\n`).join(""));
}

main();
