import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.queue.DistributedDelayQueue;
import org.apache.curator.framework.recipes.queue.DistributedIdQueue;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.state.ConnectionState;

/** Queues: what goes in comes out once, in order where an order is promised. */
final class Queues extends Section {
    private static final QueueSerializer<String> TEXT = new QueueSerializer<>() {
        @Override
        public byte[] serialize(String item) {
            return item.getBytes();
        }

        @Override
        public String deserialize(byte[] bytes) {
            return new String(bytes);
        }
    };

    /** Collects what it is handed. */
    private static final class Collector implements QueueConsumer<String> {
        final List<String> items = Collections.synchronizedList(new ArrayList<>());

        @Override
        public void consumeMessage(String message) {
            items.add(message);
        }

        @Override
        public void stateChanged(CuratorFramework client, ConnectionState state) {}
    }

    @Override
    void run() throws Exception {
        simple();
        consumers();
        ids();
        priorities();
        delays();
    }

    private void simple() throws Exception {
        String path = base + "/simple";
        SimpleDistributedQueue in = new SimpleDistributedQueue(client(), path);
        SimpleDistributedQueue out = new SimpleDistributedQueue(client(), path);
        Check.equal(null, in.peek(), "an empty queue has no head");
        Check.fails(NoSuchElementException.class, "remove from an empty queue", in::remove);
        for (int i = 0; i < 10; i++) Check.that(in.offer(("item-" + i).getBytes()), "offer");
        Check.text("item-0", out.peek(), "peek");
        Check.text("item-0", out.element(), "element");
        Check.text("item-0", out.remove(), "remove");
        for (int i = 1; i < 10; i++) Check.text("item-" + i, out.take(), "take in order");
        Check.equal(null, out.poll(), "empty again");
        Check.equal(null, out.poll(30, TimeUnit.MILLISECONDS), "a poll ends at its time");
        Future<byte[]> waiting = async(() -> out.poll(30, TimeUnit.SECONDS));
        in.offer("late".getBytes());
        Check.text("late", get(waiting), "a waiting poll is served");
    }

    private void consumers() throws Exception {
        String path = base + "/queue";
        Collector first = new Collector();
        Collector second = new Collector();
        for (Collector collector : List.of(first, second)) {
            DistributedQueue<String> consumer =
                    QueueBuilder.builder(client(), collector, TEXT, path).lockPath(path + "-lock").buildQueue();
            consumer.start();
            keep(consumer);
        }
        DistributedQueue<String> producer = keep(QueueBuilder.builder(client(), null, TEXT, path).buildQueue());
        producer.start();
        for (int i = 0; i < 60; i++) producer.put("m" + i);
        Check.that(producer.flushPuts(30, TimeUnit.SECONDS), "all puts arrive");
        Check.eventually(() -> first.items.size() + second.items.size() == 60, "sixty messages are consumed");
        List<String> all = new ArrayList<>(first.items);
        all.addAll(second.items);
        Check.equal(60L, all.stream().distinct().count(), "each one once");
    }

    private void ids() throws Exception {
        String path = base + "/ids";
        CuratorFramework client = client();
        DistributedIdQueue<String> producer = keep(QueueBuilder.builder(client, null, TEXT, path).buildIdQueue());
        producer.start();
        for (String id : List.of("x", "y", "z")) producer.put("body-" + id, id);
        Check.eventually(() -> client.getChildren().forPath(path).size() == 3, "three are queued");
        Check.equal(1, producer.remove("y"), "one is withdrawn by its id");
        Collector collector = new Collector();
        DistributedIdQueue<String> consumer = keep(QueueBuilder.builder(client(), collector, TEXT, path).buildIdQueue());
        consumer.start();
        Check.eventually(() -> collector.items.size() == 2, "the rest is consumed");
        Check.equal(Arrays.asList("body-x", "body-z"), List.copyOf(collector.items), "in order");
    }

    private void priorities() throws Exception {
        String path = base + "/priority";
        CuratorFramework client = client();
        DistributedPriorityQueue<String> producer =
                keep(QueueBuilder.builder(client, null, TEXT, path).buildPriorityQueue(0));
        producer.start();
        producer.put("low", 30);
        producer.put("high", 1);
        producer.put("negative", -4);
        producer.put("middle", 20);
        Check.eventually(() -> client.getChildren().forPath(path).size() == 4, "four are queued");
        Collector collector = new Collector();
        DistributedPriorityQueue<String> consumer =
                keep(QueueBuilder.builder(client(), collector, TEXT, path).buildPriorityQueue(0));
        consumer.start();
        Check.eventually(() -> collector.items.size() == 4, "four are consumed");
        Check.equal(Arrays.asList("negative", "high", "middle", "low"), List.copyOf(collector.items), "by priority");
    }

    private void delays() throws Exception {
        String path = base + "/delay";
        Collector collector = new Collector();
        DistributedDelayQueue<String> queue = keep(QueueBuilder.builder(client(), collector, TEXT, path).buildDelayQueue());
        queue.start();
        long now = System.currentTimeMillis();
        queue.put("third", now + 700);
        queue.put("first", now + 100);
        queue.put("second", now + 400);
        Check.eventually(() -> collector.items.size() == 3, "three come in time");
        Check.that(System.currentTimeMillis() >= now + 700, "not before their time");
        Check.equal(Arrays.asList("first", "second", "third"), List.copyOf(collector.items), "in the order of time");
    }
}
