import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/**
 * Apache's own client asks for every operation it knows, once so that it succeeds and once so that
 * it fails. Its bytes are what the recorder, which stands between client and server, keeps.
 *
 * <p>Arguments: address of the recorder, address of the server itself, "standalone" or "ensemble".
 * On standard output it says what comes next ("step ..."), or asks the recorder to cut every
 * connection ("hold") and to let them through again ("release"); each is answered by a line.
 */
public final class EveryOperation {
    private static final BufferedReader ANSWERS =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    private static final int TIMEOUT_MS = 4000;
    private static final long PATIENCE_S = 60;

    private interface Call {
        void run() throws Exception;
    }

    /** A connection with its events; waiting for one is the only way to go on. */
    private static final class Client implements Watcher {
        final LinkedBlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
        final Semaphore connected = new Semaphore(0);
        final CountDownLatch over = new CountDownLatch(1);
        final ZooKeeperAdmin zk;

        Client(String address) throws Exception {
            zk = new ZooKeeperAdmin(address, TIMEOUT_MS, this);
            awaitConnection();
        }

        @Override
        public void process(WatchedEvent event) {
            if (event.getType() != Event.EventType.None) {
                events.add(event);
            } else if (event.getState() == Event.KeeperState.SyncConnected) {
                connected.release();
            } else if (event.getState() == Event.KeeperState.Expired
                || event.getState() == Event.KeeperState.AuthFailed) {
                over.countDown();
            }
        }

        void awaitConnection() throws Exception {
            if (!connected.tryAcquire(PATIENCE_S, TimeUnit.SECONDS)) {
                throw new IllegalStateException("no connection");
            }
        }

        void event() throws Exception {
            if (events.poll(PATIENCE_S, TimeUnit.SECONDS) == null) {
                throw new IllegalStateException("no event");
            }
        }

        void noMoreEvents() {
            events.clear();
        }
    }

    private EveryOperation() {}

    private static void say(String line) throws Exception {
        System.out.println(line);
        System.out.flush();
        if (ANSWERS.readLine() == null) {
            throw new IllegalStateException("the recorder is gone");
        }
    }

    private static void step(String what, Call call) throws Exception {
        say("step " + what);
        call.run();
    }

    private static void fails(String what, KeeperException.Code code, Call call) throws Exception {
        say("step " + what);
        try {
            call.run();
        } catch (KeeperException error) {
            if (error.code() != code) {
                throw error;
            }
            return;
        }
        throw new IllegalStateException(what + ": " + code + " was expected");
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    public static void main(String[] args) throws Exception {
        if (args[2].equals("ensemble")) {
            ensemble(args[0]);
        } else {
            standalone(args[0], args[1]);
        }
        say("step the end");
        System.exit(0);
    }

    private static void standalone(String address, String direct) throws Exception {
        say("step a new session");
        Client client = new Client(address);
        Client other = new Client(direct);
        creates(client.zk);
        reads(client, other.zk);
        writes(client);
        multis(client.zk);
        watches(client, other.zk);
        auth(client.zk, address);
        reconnects(client, other.zk);
        reaper(client);
        fails("reconfig where it is not enabled", KeeperException.Code.RECONFIGDISABLED,
            () -> client.zk.reconfigure(null, null, "server.1=127.0.0.1:1:2;3", -1, null));
        sessions(client, address);
        step("closeSession with ephemerals", client.zk::close);
        other.zk.close();
    }

    private static void creates(ZooKeeper zk) throws Exception {
        List<ACL> open = Ids.OPEN_ACL_UNSAFE;
        step("create", () -> zk.create("/c", bytes("hello"), open, CreateMode.PERSISTENT));
        step("create with null data", () -> zk.create("/c/null", null, open, CreateMode.PERSISTENT));
        step("create with empty data",
            () -> zk.create("/c/empty", new byte[0], open, CreateMode.PERSISTENT));
        step("create ephemeral", () -> zk.create("/c/e", bytes("1"), open, CreateMode.EPHEMERAL));
        step("create sequential",
            () -> zk.create("/c/s-", bytes("2"), open, CreateMode.PERSISTENT_SEQUENTIAL));
        step("create ephemeral sequential",
            () -> zk.create("/c/es-", bytes("3"), open, CreateMode.EPHEMERAL_SEQUENTIAL));
        step("create with a name beyond ASCII",
            () -> zk.create("/c/\u00e9t\u00e9-\u6c34", bytes("4"), open, CreateMode.PERSISTENT));
        step("create with other ACLs", () -> zk.create("/c/acl", bytes("5"),
            Arrays.asList(new ACL(1, Ids.ANYONE_ID_UNSAFE), new ACL(31, new Id("ip", "127.0.0.1")),
                new ACL(6, new Id("digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ="))),
            CreateMode.PERSISTENT));
        fails("create what is there", KeeperException.Code.NODEEXISTS,
            () -> zk.create("/c", null, open, CreateMode.PERSISTENT));
        fails("create below nothing", KeeperException.Code.NONODE,
            () -> zk.create("/no/parent", null, open, CreateMode.PERSISTENT));
        fails("create below an ephemeral", KeeperException.Code.NOCHILDRENFOREPHEMERALS,
            () -> zk.create("/c/e/child", null, open, CreateMode.PERSISTENT));
        fails("create with an ACL of nobody", KeeperException.Code.INVALIDACL,
            () -> zk.create("/c/bad", null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        step("create2",
            () -> zk.create("/c/two", bytes("6"), open, CreateMode.PERSISTENT, new Stat()));
        step("create2 ephemeral sequential",
            () -> zk.create("/c/two-", bytes("7"), open, CreateMode.EPHEMERAL_SEQUENTIAL, new Stat()));
        fails("create2 what is there", KeeperException.Code.NODEEXISTS,
            () -> zk.create("/c/two", null, open, CreateMode.PERSISTENT, new Stat()));
        step("createContainer", () -> zk.create("/c/box", bytes("8"), open, CreateMode.CONTAINER));
        fails("createContainer what is there", KeeperException.Code.NODEEXISTS,
            () -> zk.create("/c/box", null, open, CreateMode.CONTAINER));
        step("createTTL", () -> zk.create("/c/ttl", bytes("9"), open,
            CreateMode.PERSISTENT_WITH_TTL, new Stat(), 86_400_000L));
        step("createTTL sequential", () -> zk.create("/c/ttl-", bytes("10"), open,
            CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, new Stat(), 86_400_000L));
        fails("createTTL below nothing", KeeperException.Code.NONODE,
            () -> zk.create("/no/ttl", null, open, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 5));
    }

    private static void reads(Client client, ZooKeeper other) throws Exception {
        ZooKeeper zk = client.zk;
        step("exists", () -> zk.exists("/c", false));
        step("exists, a watch on nothing", () -> zk.exists("/c/later", client));
        step("nodeCreated", () -> {
            other.create("/c/later", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            client.event();
        });
        step("getData", () -> zk.getData("/c", false, new Stat()));
        step("getData of null", () -> zk.getData("/c/null", false, new Stat()));
        step("getData of nothing in it", () -> zk.getData("/c/empty", false, new Stat()));
        step("getData of an ephemeral", () -> zk.getData("/c/e", false, new Stat()));
        step("getData of a container", () -> zk.getData("/c/box", false, new Stat()));
        step("getData of the root", () -> zk.getData("/", false, new Stat()));
        step("getData with a watch", () -> zk.getData("/c/later", client, new Stat()));
        step("nodeDataChanged", () -> {
            other.setData("/c/later", bytes("new"), -1);
            client.event();
        });
        fails("getData of a missing node", KeeperException.Code.NONODE,
            () -> zk.getData("/missing", false, null));
        step("getACL", () -> zk.getACL("/c/acl", new Stat()));
        fails("getACL of a missing node", KeeperException.Code.NONODE,
            () -> zk.getACL("/missing", new Stat()));
        step("getChildren", () -> zk.getChildren("/c", false));
        step("getChildren of a leaf", () -> zk.getChildren("/c/later", false));
        step("getChildren with a watch", () -> zk.getChildren("/c/later", client));
        step("nodeChildrenChanged", () -> {
            other.create("/c/later/child", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            client.event();
        });
        fails("getChildren of a missing node", KeeperException.Code.NONODE,
            () -> zk.getChildren("/missing", false));
        step("getChildren2", () -> zk.getChildren("/c", false, new Stat()));
        fails("getChildren2 of a missing node", KeeperException.Code.NONODE,
            () -> zk.getChildren("/missing", false, new Stat()));
        step("getEphemerals", () -> zk.getEphemerals());
        step("getEphemerals with a prefix", () -> zk.getEphemerals("/c/two"));
        step("getAllChildrenNumber", () -> zk.getAllChildrenNumber("/c"));
        fails("getAllChildrenNumber of a missing node", KeeperException.Code.NONODE,
            () -> zk.getAllChildrenNumber("/missing"));
        step("sync", () -> zk.sync("/c"));
        step("whoAmI", zk::whoAmI);
        // The client pings a server it has not heard of for a while; nothing else asks it to.
        step("ping", () -> Thread.sleep(TIMEOUT_MS));
    }

    private static void writes(Client client) throws Exception {
        ZooKeeper zk = client.zk;
        step("setData", () -> zk.setData("/c", bytes("other"), -1));
        step("setData at a version", () -> zk.setData("/c", bytes("third"), 1));
        step("setData to null", () -> zk.setData("/c/null", null, 0));
        fails("setData at another version", KeeperException.Code.BADVERSION,
            () -> zk.setData("/c", null, 77));
        fails("setData of a missing node", KeeperException.Code.NONODE,
            () -> zk.setData("/missing", null, -1));
        step("setACL", () -> zk.setACL("/c/two",
            Arrays.asList(new ACL(31, Ids.ANYONE_ID_UNSAFE), new ACL(1, new Id("ip", "10.0.0.0/8"))), 0));
        fails("setACL at another version", KeeperException.Code.BADVERSION,
            () -> zk.setACL("/c/two", Ids.OPEN_ACL_UNSAFE, 0));
        step("getData with a watch, once more", () -> zk.getData("/c/empty", client, null));
        client.noMoreEvents();
        step("delete, and nodeDeleted before its reply", () -> {
            zk.delete("/c/empty", 0);
            client.event();
        });
        fails("delete a parent", KeeperException.Code.NOTEMPTY, () -> zk.delete("/c", -1));
        fails("delete at another version", KeeperException.Code.BADVERSION,
            () -> zk.delete("/c/two", 5));
        fails("delete a missing node", KeeperException.Code.NONODE, () -> zk.delete("/missing", -1));
    }

    private static void multis(ZooKeeper zk) throws Exception {
        List<ACL> open = Ids.OPEN_ACL_UNSAFE;
        step("multi of every kind", () -> zk.multi(Arrays.asList(
            Op.create("/m", bytes("m"), open, CreateMode.PERSISTENT),
            Op.create("/m/e", null, open, CreateMode.EPHEMERAL),
            Op.create("/m/s-", null, open, CreateMode.PERSISTENT_SEQUENTIAL),
            Op.create("/m/box", bytes("b"), open, CreateMode.CONTAINER),
            Op.create("/m/ttl", bytes("t"), open, CreateMode.PERSISTENT_WITH_TTL, 86_400_000L),
            Op.setData("/m", bytes("n"), 0),
            Op.check("/m", 1),
            Op.create("/m/gone", null, open, CreateMode.PERSISTENT),
            Op.delete("/m/gone", 0))));
        fails("multi that fails", KeeperException.Code.BADVERSION, () -> zk.multi(Arrays.asList(
            Op.create("/m/not", bytes("m"), open, CreateMode.PERSISTENT),
            Op.setData("/m", bytes("x"), -1),
            Op.check("/m", 99),
            Op.delete("/m/s-0000000001", -1))));
        step("multi of nothing", () -> zk.multi(Collections.emptyList()));
        step("multiRead", () -> zk.multi(Arrays.asList(
            Op.getData("/m"), Op.getChildren("/m"), Op.getData("/m/e"), Op.getData("/missing"),
            Op.getChildren("/missing"))));
    }

    private static void watches(Client client, ZooKeeper other) throws Exception {
        ZooKeeper zk = client.zk;
        other.create("/w", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        client.noMoreEvents();
        step("addWatch, persistent", () -> zk.addWatch("/w", client, AddWatchMode.PERSISTENT));
        step("addWatch, recursive", () -> zk.addWatch("/w", client, AddWatchMode.PERSISTENT_RECURSIVE));
        step("events of a persistent and a recursive watch", () -> {
            other.create("/w/a", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            other.setData("/w/a", bytes("1"), -1);
            other.delete("/w/a", -1);
            zk.sync("/w");
        });
        step("checkWatches and the rest of removeWatches by watcher", () -> {
            zk.addWatch("/w", event -> {}, AddWatchMode.PERSISTENT);
            zk.removeWatches("/w", client, Watcher.WatcherType.Any, false);
        });
        step("removeWatches, all", () -> zk.removeAllWatches("/w", Watcher.WatcherType.Any, false));
        zk.getData("/w", client, null);
        zk.getChildren("/w", client);
        step("removeWatches of children",
            () -> zk.removeAllWatches("/w", Watcher.WatcherType.Children, false));
        step("removeWatches of data",
            () -> zk.removeAllWatches("/w", Watcher.WatcherType.Data, false));
        client.noMoreEvents();
    }

    private static void auth(ZooKeeper zk, String address) throws Exception {
        step("auth digest", () -> {
            zk.addAuthInfo("digest", bytes("u:p"));
            zk.sync("/");
        });
        step("auth as super", () -> {
            zk.addAuthInfo("digest", bytes("super:admin"));
            zk.sync("/");
        });
        step("whoAmI, three of them", zk::whoAmI);
        step("create for the creator alone",
            () -> zk.create("/c/mine", null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        step("a session that fails to authenticate", () -> {
            Client failing = new Client(address);
            failing.zk.addAuthInfo("nosuch", bytes("x"));
            failing.over.await(PATIENCE_S, TimeUnit.SECONDS);
            failing.zk.close();
        });
        step("a stranger", () -> {
            Client stranger = new Client(address);
            try {
                stranger.zk.getData("/c/mine", false, null);
            } catch (KeeperException.NoAuthException expected) {
                stranger.zk.getACL("/c/acl", new Stat());
            }
            stranger.zk.close();
        });
    }

    private static void reconnects(Client client, ZooKeeper other) throws Exception {
        ZooKeeper zk = client.zk;
        other.create("/r", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.getData("/r", client, null);
        zk.getData("/c/later", client, null);
        zk.exists("/r2", client);
        zk.getChildren("/c", client);
        client.noMoreEvents();
        client.connected.drainPermits();
        step("setWatches after a reconnect; one has fired", () -> {
            say("hold");
            other.setData("/r", bytes("1"), -1);
            say("release");
            client.awaitConnection();
            client.event();
            zk.sync("/");
        });
        zk.addWatch("/r", client, AddWatchMode.PERSISTENT);
        zk.addWatch("/c", client, AddWatchMode.PERSISTENT_RECURSIVE);
        client.noMoreEvents();
        client.connected.drainPermits();
        step("setWatches2 after a reconnect; some have fired", () -> {
            say("hold");
            other.create("/r2", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            other.delete("/c/later/child", -1);
            other.delete("/c/later", -1);
            say("release");
            client.awaitConnection();
            client.event();
            zk.sync("/");
        });
        zk.removeAllWatches("/r", Watcher.WatcherType.Any, false);
        zk.removeAllWatches("/c", Watcher.WatcherType.Any, false);
        client.noMoreEvents();
    }

    private static void reaper(Client client) throws Exception {
        ZooKeeper zk = client.zk;
        zk.create("/box", null, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER);
        zk.create("/box/child", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.exists("/box", client);
        zk.delete("/box/child", -1);
        step("a container is removed by the server", client::event);
        zk.create("/ttl", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 100);
        step("a TTL node is removed by the server", () -> {
            if (zk.exists("/ttl", client) != null) {
                client.event();
            }
        });
        client.noMoreEvents();
    }

    private static void sessions(Client client, String address) throws Exception {
        step("a session resumed elsewhere", () -> {
            Client first = new Client(address);
            CountDownLatch resumed = new CountDownLatch(1);
            ZooKeeper again = new ZooKeeper(address, TIMEOUT_MS, event -> resumed.countDown(),
                first.zk.getSessionId(), first.zk.getSessionPasswd());
            resumed.await(PATIENCE_S, TimeUnit.SECONDS);
            again.close();
            first.zk.close();
        });
        step("a session that is not there", () -> {
            CountDownLatch expired = new CountDownLatch(1);
            ZooKeeper gone = new ZooKeeper(address, TIMEOUT_MS, event -> {
                if (event.getState() == Watcher.Event.KeeperState.Expired) {
                    expired.countDown();
                }
            }, 0x1234, new byte[16]);
            expired.await(PATIENCE_S, TimeUnit.SECONDS);
            gone.close();
        });
    }

    /** reconfig succeeds in an ensemble only; one server is enough of one. */
    private static void ensemble(String address) throws Exception {
        say("step a new session");
        Client client = new Client(address);
        ZooKeeperAdmin zk = client.zk;
        step("auth as super", () -> {
            zk.addAuthInfo("digest", bytes("super:admin"));
            zk.sync("/");
        });
        step("getData of the configuration, with a watch", () -> zk.getConfig(client, new Stat()));
        step("reconfig: an observer joins, with the event of the configuration",
            () -> {
                zk.reconfigure("server.2=127.0.0.1:1:2:observer;127.0.0.1:3", null, null, -1, new Stat());
                client.event();
            });
        step("reconfig: it leaves", () -> zk.reconfigure((String) null, "2", null, -1, new Stat()));
        fails("reconfig from another configuration", KeeperException.Code.BADVERSION,
            () -> zk.reconfigure((String) null, "2", null, 77, new Stat()));
        fails("reconfig of nonsense", KeeperException.Code.BADARGUMENTS,
            () -> zk.reconfigure("server.x", null, null, -1, new Stat()));
        step("closeSession", zk::close);
    }
}
