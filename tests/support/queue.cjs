// Fills, counts or works off a queue: node queue.cjs fill|counts|work PORT. `NODE_PATH` leads to the package bullmq.
const { Queue, Worker } = require('bullmq');
const [, , what, port] = process.argv;
const connection = { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null };
const queue = new Queue('mail', { connection });
const kinds = ['active', 'delayed', 'failed', 'completed', 'prioritized', 'waiting'];

async function fill() {
    for (let at = 0; at < 20; at++) await queue.add('done', { at, broken: at < 4 }, { attempts: 1 });
    let ended = 0;
    const worker = new Worker('mail', async (job) => {
        if (job.data.broken) throw new Error('broken');
    }, { connection });
    await new Promise((resolve) => {
        const count = () => { if (++ended === 20) resolve(); };
        worker.on('completed', count);
        worker.on('failed', count);
    });
    await worker.close();
    // One that a worker holds and will not end.
    await queue.add('held', {});
    const holder = new Worker('mail', null, { connection, lockDuration: 1000 });
    await holder.getNextJob('token');
    for (let at = 0; at < 5; at++) await queue.add('later', { at }, { delay: 1000 });
    for (let at = 0; at < 10; at++) await queue.add('first', { at }, { priority: at + 1 });
    await queue.add('plain', {});
    await holder.close(true);
}

// Everything that was to be done is done: five delayed, ten with priorities, one that waited, and the one that was held.
async function work() {
    const seen = new Map();
    const worker = new Worker('mail', async (job) => {
        seen.set(job.name, (seen.get(job.name) || 0) + 1);
    }, { connection, stalledInterval: 200, lockDuration: 1000 });
    await new Promise((resolve) => worker.on('completed', async () => {
        if ([...seen.values()].reduce((sum, count) => sum + count, 0) === 17) resolve();
    }));
    await worker.close();
    console.log(JSON.stringify(Object.fromEntries([...seen].sort())));
}

(async () => {
    if (what === 'fill') await fill();
    if (what === 'work') await work();
    if (what === 'counts') console.log(JSON.stringify(await queue.getJobCounts(...kinds)));
    await queue.close();
    process.exit(0);
})().catch((error) => { console.error(error); process.exit(1); });
