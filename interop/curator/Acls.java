import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.curator.framework.CuratorFramework;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.server.auth.DigestAuthenticationProvider;

/** Digest, ip and world: who may read, write, create, delete and administer. */
final class Acls extends Section {
    @Override
    void run() throws Exception {
        CuratorFramework alice = started(builder(server).authorization("digest", "alice:secret".getBytes()).build());
        CuratorFramework bob = started(builder(server).authorization("digest", "bob:secret".getBytes()).build());
        CuratorFramework nobody = client();
        alice.create().forPath(base);

        String path = base + "/private";
        alice.create().withACL(ZooDefs.Ids.CREATOR_ALL_ACL).forPath(path, "s".getBytes());
        Id aliceId = new Id("digest", DigestAuthenticationProvider.generateDigest("alice:secret"));
        Stat stat = new Stat();
        Check.equal(List.of(new ACL(Perms.ALL, aliceId)), alice.getACL().storingStatIn(stat).forPath(path),
                "auth: becomes the creator's digest, with the hash shown to those who may administer");
        Check.equal(0, stat.getAversion(), "first ACL version");
        Check.text("s", alice.getData().forPath(path), "the owner reads");
        for (CuratorFramework stranger : List.of(bob, nobody)) {
            Check.fails(KeeperException.NoAuthException.class, "a stranger reads", () -> stranger.getData().forPath(path));
            Check.fails(KeeperException.NoAuthException.class, "a stranger lists", () -> stranger.getChildren().forPath(path));
            Check.fails(KeeperException.NoAuthException.class, "a stranger writes",
                    () -> stranger.setData().forPath(path, "x".getBytes()));
            Check.fails(KeeperException.NoAuthException.class, "a stranger creates", () -> stranger.create().forPath(path + "/x"));
            Check.fails(KeeperException.NoAuthException.class, "a stranger changes the ACL",
                    () -> stranger.setACL().withACL(ZooDefs.Ids.OPEN_ACL_UNSAFE).forPath(path));
            Check.fails(KeeperException.NoAuthException.class, "a stranger sees the ACL", () -> stranger.getACL().forPath(path));
            Check.fails(KeeperException.NoAuthException.class, "a stranger asks whether it exists",
                    () -> stranger.checkExists().forPath(path));
            Check.equal(null, stranger.checkExists().forPath(path + "/none"), "what does not exist is no secret");
            Check.fails(KeeperException.NoAuthException.class, "nor in a transaction",
                    () -> stranger.transaction().forOperations(
                            stranger.transactionOp().setData().forPath(path, "x".getBytes())));
        }

        // Deleting asks for DELETE on the parent, not on the node.
        alice.create().withACL(ZooDefs.Ids.CREATOR_ALL_ACL).forPath(path + "/child");
        Check.fails(KeeperException.NoAuthException.class, "a stranger deletes a child", () -> bob.delete().forPath(path + "/child"));
        Check.equal(1, alice.setACL().withACL(Arrays.asList(new ACL(Perms.ALL, aliceId),
                new ACL(Perms.DELETE | Perms.READ, new Id("digest", DigestAuthenticationProvider.generateDigest("bob:secret")))))
                .forPath(path).getAversion(), "the ACL version moves");
        bob.delete().forPath(path + "/child");
        Check.equal(null, alice.checkExists().forPath(path + "/child"), "DELETE on the parent is enough");
        Check.text("s", bob.getData().forPath(path), "READ was granted too");
        Check.fails(KeeperException.NoAuthException.class, "WRITE was not", () -> bob.setData().forPath(path, "x".getBytes()));
        List<String> shown = bob.getACL().forPath(path).stream().map(acl -> acl.getId().getId()).sorted().collect(Collectors.toList());
        Check.equal(Arrays.asList("alice:x", "bob:x"), shown, "hashes are hidden from those who may not administer");
        Check.fails(KeeperException.BadVersionException.class, "setACL at a wrong version",
                () -> alice.setACL().withVersion(0).withACL(ZooDefs.Ids.OPEN_ACL_UNSAFE).forPath(path));
        Check.equal(2, alice.setACL().withVersion(1).withACL(ZooDefs.Ids.READ_ACL_UNSAFE).forPath(path).getAversion(),
                "setACL at the right version");
        Check.text("s", nobody.getData().forPath(path), "world may read now");
        Check.fails(KeeperException.NoAuthException.class, "and even the creator only that",
                () -> alice.setData().forPath(path, "x".getBytes()));

        Check.fails(KeeperException.InvalidACLException.class, "creator-only without a creator",
                () -> nobody.create().withACL(ZooDefs.Ids.CREATOR_ALL_ACL).forPath(base + "/x"));
        Check.fails(KeeperException.InvalidACLException.class, "an unknown scheme",
                () -> alice.create().withACL(List.of(new ACL(Perms.ALL, new Id("nonsense", "x")))).forPath(base + "/x"));
        Check.fails(KeeperException.InvalidACLException.class, "an ip that is none",
                () -> alice.create().withACL(List.of(new ACL(Perms.ALL, new Id("ip", "300.1.1.1")))).forPath(base + "/x"));

        String local = base + "/local";
        alice.create().withACL(Arrays.asList(new ACL(Perms.READ, new Id("ip", "127.0.0.0/8")), new ACL(Perms.ALL, aliceId)))
                .forPath(local, "near".getBytes());
        Check.text("near", nobody.getData().forPath(local), "ip with a mask admits this machine");
        Check.fails(KeeperException.NoAuthException.class, "but only to read", () -> nobody.setData().forPath(local, "x".getBytes()));
        alice.create().withACL(List.of(new ACL(Perms.READ, new Id("ip", "10.9.8.7")))).forPath(base + "/far", "far".getBytes());
        Check.fails(KeeperException.NoAuthException.class, "ip of another machine", () -> nobody.getData().forPath(base + "/far"));

        // One connection may hold several identities, added late.
        Check.that(alice.getZookeeperClient().getZooKeeper().whoAmI().stream()
                .anyMatch(info -> info.getAuthScheme().equals("digest") && info.getUser().equals("alice")), "whoAmI names alice");
        String both = base + "/both";
        alice.create().withACL(ZooDefs.Ids.CREATOR_ALL_ACL).forPath(both, "b".getBytes());
        nobody.getZookeeperClient().getZooKeeper().addAuthInfo("digest", "alice:wrong".getBytes());
        Check.fails(KeeperException.NoAuthException.class, "a wrong password opens nothing", () -> nobody.getData().forPath(both));
        nobody.getZookeeperClient().getZooKeeper().addAuthInfo("digest", "alice:secret".getBytes());
        Check.text("b", nobody.getData().forPath(both), "the right one does, on the same connection");
    }
}
