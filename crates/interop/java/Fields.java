import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.apache.jute.BinaryInputArchive;
import org.apache.jute.Record;
import org.apache.zookeeper.proto.*;
import org.apache.zookeeper.server.TxnLogEntry;
import org.apache.zookeeper.server.util.SerializeUtils;
import org.apache.zookeeper.txn.MultiTxn;
import org.apache.zookeeper.txn.Txn;

/**
 * Reads recorded bytes with the record classes of Apache and writes their fields below them, in the
 * form of Apache's own toString. What the golden tests compare our records with.
 *
 * <p>Standard input and output are a recording. Argument: "wire" or "txnlog".
 */
public final class Fields {
    private static final Map<String, Integer> OPERATIONS = new HashMap<>();
    private static final Set<String> CONNECTED = new HashSet<>();

    private Fields() {}

    public static void main(String[] args) throws Exception {
        boolean wire = args[0].equals("wire");
        BufferedReader lines =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        StringBuilder out = new StringBuilder();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            out.append(line).append('\n');
            String[] parts = line.split(" ");
            if (line.startsWith("#") || line.startsWith("==") || line.isEmpty()) {
                continue;
            }
            String fields = wire
                ? frame(parts[0], parts[1].equals(">"), unhex(parts[2]))
                : txn(unhex(parts[0]));
            out.append("    ").append(fields).append('\n');
        }
        System.out.write(out.toString().getBytes(StandardCharsets.UTF_8));
        System.out.flush();
    }

    private static byte[] unhex(String text) {
        byte[] bytes = new byte[text.length() / 2];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) Integer.parseInt(text.substring(2 * i, 2 * i + 2), 16);
        }
        return bytes;
    }

    private static BinaryInputArchive archive(byte[] bytes) {
        return BinaryInputArchive.getArchive(new ByteArrayInputStream(bytes));
    }

    private static String show(Record record) {
        return record.toString().trim();
    }

    private static String read(BinaryInputArchive in, Record record) throws IOException {
        record.deserialize(in, "record");
        return show(record);
    }

    private static String frame(String connection, boolean request, byte[] frame) throws IOException {
        byte[] body = Arrays.copyOfRange(frame, 4, frame.length);
        if (CONNECTED.add(connection + request)) {
            // Clients up to 3.3 lack the last byte, and so do their answers.
            boolean old = body.length == (request ? 44 : 36);
            byte[] whole = old ? Arrays.copyOf(body, body.length + 1) : body;
            Record record = request ? new ConnectRequest() : new ConnectResponse();
            return (old ? "old connect: " : "connect: ") + read(archive(whole), record);
        }
        BinaryInputArchive in = archive(body);
        if (request) {
            RequestHeader header = new RequestHeader();
            header.deserialize(in, "header");
            OPERATIONS.put(connection + " " + header.getXid(), header.getType());
            return header.getType() + ": " + show(header) + " | " + safely(header.getType(), true, in);
        }
        ReplyHeader header = new ReplyHeader();
        header.deserialize(in, "header");
        String head = show(header);
        if (header.getXid() == -1) {
            return "event: " + head + " | " + read(in, new WatcherEvent());
        }
        // Pings and auth packets are answered with numbers of their own, whatever they carried.
        int operation = header.getXid() == -2 ? 11
            : header.getXid() == -4 ? 100 : OPERATIONS.get(connection + " " + header.getXid());
        if (header.getErr() != 0) {
            return operation + ": " + head;
        }
        return operation + ": " + head + " | " + safely(operation, false, in);
    }

    private static String safely(int operation, boolean request, BinaryInputArchive in) {
        try {
            return request ? requestBody(operation, in) : replyBody(operation, in);
        } catch (IOException error) {
            return "undecodable";
        }
    }

    private static String requestBody(int operation, BinaryInputArchive in) throws IOException {
        switch (operation) {
            case 14:
            case 22:
                return multi(in, true);
            case 11:
            case 107:
            case -11:
                return "";
            default:
                return read(in, request(operation));
        }
    }

    private static Record request(int operation) {
        switch (operation) {
            case 1:
            case 15:
            case 19: return new CreateRequest();
            case 21: return new CreateTTLRequest();
            case 2: return new DeleteRequest();
            case 3: return new ExistsRequest();
            case 4: return new GetDataRequest();
            case 5: return new SetDataRequest();
            case 6: return new GetACLRequest();
            case 7: return new SetACLRequest();
            case 8: return new GetChildrenRequest();
            case 9: return new SyncRequest();
            case 12: return new GetChildren2Request();
            case 13: return new CheckVersionRequest();
            case 16: return new ReconfigRequest();
            case 17: return new CheckWatchesRequest();
            case 18: return new RemoveWatchesRequest();
            // The server takes the bytes of a path; there is no class of its own for them.
            case 20: return new SyncRequest();
            case 100: return new AuthPacket();
            case 101: return new SetWatches();
            case 102: return new GetSASLRequest();
            case 103: return new GetEphemeralsRequest();
            case 104: return new GetAllChildrenNumberRequest();
            case 105: return new SetWatches2();
            case 106: return new AddWatchRequest();
            default: throw new IllegalArgumentException("operation " + operation);
        }
    }

    private static String replyBody(int operation, BinaryInputArchive in) throws IOException {
        switch (operation) {
            case 14:
            case 22: return multi(in, false);
            case 1: return read(in, new CreateResponse());
            case 15:
            case 19:
            case 21: return read(in, new Create2Response());
            case 3: return read(in, new ExistsResponse());
            case 4:
            case 16: return read(in, new GetDataResponse());
            case 5: return read(in, new SetDataResponse());
            case 6: return read(in, new GetACLResponse());
            case 7: return read(in, new SetACLResponse());
            case 8: return read(in, new GetChildrenResponse());
            case 9: return read(in, new SyncResponse());
            case 12: return read(in, new GetChildren2Response());
            case 102: return read(in, new SetSASLResponse());
            case 103: return read(in, new GetEphemeralsResponse());
            case 104: return read(in, new GetAllChildrenNumberResponse());
            case 106: return read(in, new ErrorResponse());
            case 107: return read(in, new WhoAmIResponse());
            default: return "";
        }
    }

    /** Requests and results alike are records behind small headers. */
    private static String multi(BinaryInputArchive in, boolean request) throws IOException {
        StringBuilder text = new StringBuilder();
        while (true) {
            MultiHeader header = new MultiHeader();
            header.deserialize(in, "header");
            text.append('[').append(show(header));
            if (header.getDone()) {
                return text.append(']').toString();
            }
            text.append(" | ");
            if (request) {
                text.append(read(in, request(header.getType())));
            } else if (header.getType() == -1) {
                text.append(read(in, new ErrorResponse()));
            } else {
                text.append(replyBody(header.getType(), in));
            }
            text.append("] ");
        }
    }

    private static String txn(byte[] payload) throws IOException {
        TxnLogEntry entry = SerializeUtils.deserializeTxn(payload);
        StringBuilder text = new StringBuilder();
        text.append(entry.getHeader().getType()).append(": ").append(show(entry.getHeader()));
        Record body = entry.getTxn();
        text.append(" | ").append(body instanceof MultiTxn ? "multi" : show(body));
        text.append(" | ").append(entry.getDigest() == null ? "no digest" : show(entry.getDigest()));
        if (body instanceof MultiTxn) {
            // The members of a multi are bytes to its class; their own classes read them.
            for (Txn member : ((MultiTxn) body).getTxns()) {
                byte[] whole = new byte[32 + member.getData().length];
                whole[28] = (byte) (member.getType() >> 24);
                whole[29] = (byte) (member.getType() >> 16);
                whole[30] = (byte) (member.getType() >> 8);
                whole[31] = (byte) member.getType();
                System.arraycopy(member.getData(), 0, whole, 32, member.getData().length);
                // A check has no type of its own at the top; its record is a path and a version.
                String fields = member.getType() == 13
                    ? read(archive(member.getData()), new org.apache.zookeeper.txn.CheckVersionTxn())
                    : show(SerializeUtils.deserializeTxn(whole).getTxn());
                text.append(" [").append(member.getType()).append(": ").append(fields).append(']');
            }
        }
        return text.toString();
    }
}
