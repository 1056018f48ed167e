'use strict';
// Drives node-zookeeper-client against the server named by the first argument (host:port).
//
// The client is old and speaks plain `create`, `setWatches`, `multi`: what a server must go on serving.

const net = require('net');
const zookeeper = require('node-zookeeper-client');

const { ACL, CreateMode, Event, Exception, Id, Permission } = zookeeper;
const server = process.argv[2];
const root = `/node-${process.pid}-${Date.now()}`;
const PATIENCE_MS = 30000;
let held = 0;

function that(condition, what) {
    if (!condition) throw new Error(`does not hold: ${what}`);
    held += 1;
}

function equal(expected, actual, what) {
    const [a, b] = [JSON.stringify(expected), JSON.stringify(actual)];
    if (a !== b) throw new Error(`${what}: expected ${a}, got ${b}`);
    held += 1;
}

async function fails(code, what, promise) {
    try {
        await promise;
    } catch (error) {
        if (error.code !== code) throw new Error(`${what}: wanted code ${code}, got ${error}`);
        held += 1;
        return;
    }
    throw new Error(`${what}: succeeded, wanted code ${code}`);
}

/** Rejects when the promise takes too long. */
function soon(promise, what) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`never came: ${what}`)), PATIENCE_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function eventually(condition, what) {
    const deadline = Date.now() + PATIENCE_MS;
    while (!(await condition())) {
        if (Date.now() > deadline) throw new Error(`never came true: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
    held += 1;
}

/** The client's calls as promises; a reply of two values becomes an array. */
class Client {
    constructor(address, options) {
        this.raw = zookeeper.createClient(address, { sessionTimeout: 10000, spinDelay: 100, ...options });
    }

    connect() {
        const connected = new Promise((resolve) => this.raw.once('connected', resolve));
        this.raw.connect();
        return soon(connected, 'connection');
    }

    call(method, ...parameters) {
        return soon(new Promise((resolve, reject) => {
            this.raw[method](...parameters, (error, ...values) => {
                if (error) reject(error);
                else resolve(values.length > 1 ? values : values[0]);
            });
        }), `${method} ${parameters[0]}`);
    }

    create(path, data = '', mode = CreateMode.PERSISTENT, acls = ACL.OPEN_ACL_UNSAFE) {
        return this.call('create', path, Buffer.from(data), acls, mode);
    }

    set(path, data, version = -1) {
        return this.call('setData', path, Buffer.from(data), version);
    }

    get(path, watcher) {
        return this.call('getData', path, ...(watcher ? [watcher] : []));
    }

    exists(path, watcher) {
        return this.call('exists', path, ...(watcher ? [watcher] : []));
    }

    children(path, watcher) {
        return this.call('getChildren', path, ...(watcher ? [watcher] : []));
    }

    remove(path, version = -1) {
        return this.call('remove', path, version);
    }

    session() {
        return this.raw.getSessionId().toString('hex');
    }

    close() {
        this.raw.close();
    }
}

/** A watcher that hands out its events one by one. */
class Recorder {
    constructor() {
        this.events = [];
        this.waiting = [];
        this.watcher = (event) => {
            const next = this.waiting.shift();
            if (next) next(event);
            else this.events.push(event);
        };
    }

    async expect(type, path, what) {
        const event = this.events.shift() || (await soon(new Promise((resolve) => this.waiting.push(resolve)), what));
        equal([type, path], [event.getType(), event.getPath()], what);
    }

    none(what) {
        equal(0, this.events.length, what);
    }
}

/** A relay whose connections can be cut, so that the session outlives its connection. */
class Proxy {
    constructor() {
        const [host, port] = [server.slice(0, server.lastIndexOf(':')), Number(server.slice(server.lastIndexOf(':') + 1))];
        this.open = new Set();
        this.severed = false;
        this.listener = net.createServer((inward) => {
            if (this.severed) {
                inward.destroy();
                return;
            }
            const outward = net.connect(port, host);
            for (const [from, to] of [[inward, outward], [outward, inward]]) {
                this.open.add(from);
                from.pipe(to);
                from.on('error', () => to.destroy());
                from.on('close', () => {
                    this.open.delete(from);
                    to.destroy();
                });
            }
        });
        this.address = new Promise((resolve) => {
            this.listener.listen(0, '127.0.0.1', () => resolve(`127.0.0.1:${this.listener.address().port}`));
        });
    }

    sever() {
        this.severed = true;
        for (const socket of this.open) socket.destroy();
    }

    mend() {
        this.severed = false;
    }

    close() {
        this.sever();
        this.listener.close();
    }
}

async function basics(client) {
    equal(root, await client.create(root, 'root'), 'create');
    const [data, stat] = await client.get(root);
    equal('root', data.toString(), 'get');
    equal([0, 0, 0, 4, 0], [stat.version, stat.cversion, stat.aversion, stat.dataLength, stat.numChildren], 'a new stat');
    equal(stat.czxid.toString('hex'), stat.mzxid.toString('hex'), 'czxid is mzxid');
    equal(stat.czxid.toString('hex'), stat.pzxid.toString('hex'), 'czxid is pzxid');
    equal(1, (await client.set(root, 'one')).version, 'set');
    equal(2, (await client.set(root, 'two', 1)).version, 'set at the right version');
    await fails(Exception.BAD_VERSION, 'set at a wrong version', client.set(root, 'three', 1));
    await fails(Exception.NODE_EXISTS, 'create again', client.create(root));
    await fails(Exception.NO_NODE, 'create without parent', client.create(`${root}/x/y`));
    await fails(Exception.NO_NODE, 'get of nothing', client.get(`${root}/none`));
    await fails(Exception.NO_NODE, 'set of nothing', client.set(`${root}/none`, 'x'));
    equal(null, await client.exists(`${root}/none`), 'exists of nothing');

    equal(`${root}/e`, await client.create(`${root}/e`, 'e', CreateMode.EPHEMERAL), 'ephemeral');
    const owner = (await client.exists(`${root}/e`)).ephemeralOwner.toString('hex');
    equal(client.session(), owner, 'its owner');
    await fails(Exception.NO_CHILDREN_FOR_EPHEMERALS, 'a child of an ephemeral', client.create(`${root}/e/x`));
    equal(`${root}/s-0000000001`, await client.create(`${root}/s-`, '', CreateMode.PERSISTENT_SEQUENTIAL), 'sequential');
    equal(`${root}/s-0000000002`, await client.create(`${root}/s-`, '', CreateMode.EPHEMERAL_SEQUENTIAL), 'both');
    const [children, parent] = await client.children(root);
    equal(['e', 's-0000000001', 's-0000000002'], children.sort(), 'children');
    equal([3, 3], [parent.numChildren, parent.cversion], 'counted in the parent');
    await fails(Exception.NOT_EMPTY, 'remove of a parent', client.remove(root));
    await fails(Exception.BAD_VERSION, 'remove at a wrong version', client.remove(`${root}/e`, 5));
    await client.remove(`${root}/e`, 0);
    equal(null, await client.exists(`${root}/e`), 'removed');
    await client.call('mkdirp', `${root}/deep/er/still`, Buffer.from('d'), ACL.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    equal('d', (await client.get(`${root}/deep/er/still`))[0].toString(), 'mkdirp');
    for (const path of ['/deep/er/still', '/deep/er', '/deep']) await client.remove(root + path);
    equal(null, await client.exists(`${root}/deep`), 'removed from the leaf up');
    const empty = `${root}/empty`;
    await client.call('create', empty);
    that(!(await client.get(empty))[0] || (await client.get(empty))[0].length === 0, 'no data');
}

async function pipelining(client) {
    const path = `${root}/pipeline`;
    await client.create(path);
    const versions = await Promise.all(Array.from({ length: 500 }, (_, i) => client.set(path, `v${i}`)));
    equal(Array.from({ length: 500 }, (_, i) => i + 1), versions.map((stat) => stat.version), 'replies come in order');
    equal('v499', (await client.get(path))[0].toString(), 'the last write stands');
    const big = Buffer.alloc(500000, 7);
    await client.call('setData', path, big, -1);
    that(big.equals((await client.get(path))[0]), 'half a megabyte comes back whole');
}

async function watches(client, other) {
    const path = `${root}/watched`;
    const recorder = new Recorder();
    equal(null, await client.exists(path, recorder.watcher), 'nothing there');
    await other.create(path);
    await recorder.expect(Event.NODE_CREATED, path, 'exists watch');
    await client.get(path, recorder.watcher);
    await other.set(path, '1');
    await recorder.expect(Event.NODE_DATA_CHANGED, path, 'data watch');
    await client.children(path, recorder.watcher);
    await other.create(`${path}/x`);
    await recorder.expect(Event.NODE_CHILDREN_CHANGED, path, 'child watch');
    await other.set(path, '2');
    await other.remove(`${path}/x`);
    await client.get(path, recorder.watcher);
    await other.remove(path);
    await recorder.expect(Event.NODE_DELETED, path, 'data watch of a removed node');
    recorder.none('one-shot watches fire once');
    // The event must be handed over before the reply that shows the change.
    await client.create(path, 'a');
    let seen = false;
    await client.get(path, () => { seen = true; });
    await client.set(path, 'b');
    that(seen, 'an event precedes the reply of the write that caused it');
}

async function transactions(client) {
    const path = `${root}/transaction`;
    const commit = (transaction) => soon(new Promise((resolve, reject) => {
        transaction.commit((error, results) => (error ? reject(Object.assign(error, { results })) : resolve(results)));
    }), 'commit');
    await commit(client.raw.transaction()
        .create(path, Buffer.from('1'))
        .check(path, 0)
        .setData(path, Buffer.from('2'), 0)
        .create(`${path}/x`)
        .remove(`${path}/x`, -1));
    const [data, stat] = await client.get(path);
    equal(['2', 1, 2], [data.toString(), stat.version, stat.cversion], 'a transaction is applied whole');
    equal(stat.czxid.toString('hex'), stat.mzxid.toString('hex'), 'with one zxid');
    await fails(Exception.BAD_VERSION, 'a transaction with a failing check', commit(client.raw.transaction()
        .setData(path, Buffer.from('3'), -1)
        .create(`${path}/y`)
        .check(path, 99)));
    equal('2', (await client.get(path))[0].toString(), 'is not applied at all');
    equal(null, await client.exists(`${path}/y`), 'not in any part');
}

async function acls(client, other) {
    const path = `${root}/private`;
    client.raw.addAuthInfo('digest', Buffer.from('node:secret'));
    await client.create(path, 's', CreateMode.PERSISTENT, ACL.CREATOR_ALL_ACL);
    equal('s', (await client.get(path))[0].toString(), 'the owner reads');
    await fails(Exception.NO_AUTH, 'a stranger reads', other.get(path));
    await fails(Exception.NO_AUTH, 'a stranger writes', other.set(path, 'x'));
    await fails(Exception.NO_AUTH, 'a stranger creates', other.create(`${path}/x`));
    const [list, stat] = await client.call('getACL', path);
    equal([31, 'digest'], [list[0].permission, list[0].id.scheme], 'the ACL is that of the creator');
    equal(0, stat.aversion, 'at its first version');
    const open = [new ACL(Permission.READ, Id.ANYONE_ID_UNSAFE), list[0]];
    equal(1, (await client.call('setACL', path, open, 0)).aversion, 'setACL');
    equal('s', (await other.get(path))[0].toString(), 'the stranger reads now');
    await fails(Exception.NO_AUTH, 'but does not write', other.set(path, 'x'));
    await fails(Exception.BAD_VERSION, 'setACL at a wrong version', client.call('setACL', path, open, 0));
    await fails(Exception.INVALID_ACL, 'an unknown scheme', client.create(`${root}/bad`, '', CreateMode.PERSISTENT,
        [new ACL(Permission.ALL, new Id('nonsense', 'x'))]));
}

async function reattach(other) {
    const proxy = new Proxy();
    const client = new Client(await proxy.address);
    await client.connect();
    const session = client.session();
    const path = `${root}/reattach`;
    await client.create(path, 'e', CreateMode.EPHEMERAL);
    await other.create(`${root}/data`, '0');
    await other.create(`${root}/quiet`, '0');
    const recorder = new Recorder();
    await client.get(`${root}/data`, recorder.watcher);
    await client.children(`${root}/quiet`, recorder.watcher);
    const lost = new Promise((resolve) => client.raw.once('disconnected', resolve));
    const back = new Promise((resolve) => client.raw.once('connected', resolve));
    proxy.sever();
    await soon(lost, 'the cut is noticed');
    await other.set(`${root}/data`, 'while away');
    proxy.mend();
    await soon(back, 'the session comes back');
    equal(session, client.session(), 'it is the same session');
    await recorder.expect(Event.NODE_DATA_CHANGED, `${root}/data`, 'what was missed is told');
    equal(session, (await other.exists(path)).ephemeralOwner.toString('hex'), 'the ephemeral stayed');
    await other.create(`${root}/quiet/x`);
    await recorder.expect(Event.NODE_CHILDREN_CHANGED, `${root}/quiet`, 'the quiet watch was set again');

    client.close();
    await eventually(async () => (await other.exists(path)) === null, 'closing ends the session and its ephemeral');

    const mortal = new Client(await proxy.address, { sessionTimeout: 2000 });
    await mortal.connect();
    await mortal.create(path, 'm', CreateMode.EPHEMERAL);
    const expired = new Promise((resolve) => mortal.raw.once('expired', resolve));
    proxy.sever();
    await eventually(async () => (await other.exists(path)) === null, 'an absent client loses its session and its ephemeral');
    proxy.mend();
    await soon(expired, 'and is told so when it comes back');
    held += 1;
    mortal.close();
    proxy.close();
}

async function main() {
    const client = new Client(server);
    const other = new Client(server);
    await client.connect();
    await other.connect();
    await basics(client);
    await pipelining(client);
    await watches(client, other);
    await transactions(client);
    await acls(client, other);
    await reattach(other);
    const chrooted = new Client(server + root);
    await chrooted.connect();
    equal('b', (await chrooted.get('/watched'))[0].toString(), 'a chroot is a prefix');
    chrooted.close();
    client.close();
    other.close();
}

main().then(
    () => {
        console.log(`node: ${held} assertions, ok`);
        process.exit(0);
    },
    (error) => {
        console.log(error.stack || String(error));
        console.log(`node: ${held} assertions, FAILED`);
        process.exit(1);
    },
);
