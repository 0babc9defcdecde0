// An Express price list without a line of telemetry code; the register hook given to node does the rest.
// /price takes 120 ms, so that a latency policy keeps the traces that pass through here.
'use strict';

const express = require('express');

const app = express();

app.get('/price', (_request, response) => {
  setTimeout(() => response.json({ price: 42 }), 120);
});

app.listen(Number(process.env.PORT), '127.0.0.1');
