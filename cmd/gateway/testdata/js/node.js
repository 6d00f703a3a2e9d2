// Reads jobs from standard input, one a line, performs them in turn and prints a line with the outcome of each.
const mqtt = require('mqtt');
const perform = require('./perform.js');

(async () => {
  for await (const line of require('readline').createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await perform(mqtt, JSON.parse(line))));
  }
})();
