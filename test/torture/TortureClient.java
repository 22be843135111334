import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.Locale;
import java.util.Random;
import org.postgresql.util.PSQLException;

/**
 * TortureClient NAME SEED LOG: as client.c, with JDBC, by way of JDBC_URL.
 *
 * A batch is what it has and others have not: two orders in one go.
 */
public class TortureClient {
    enum Way { AUTO, COMMIT, ROLLBACK, FAIL, BATCH, CUT, LEAVE }

    static final Way[] WAYS = {
        Way.AUTO, Way.COMMIT, Way.COMMIT, Way.COMMIT, Way.ROLLBACK, Way.FAIL,
        Way.BATCH, Way.BATCH, Way.CUT, Way.LEAVE
    };
    static final String INSERT =
        "INSERT INTO orders (token, status, amount, account)"
        + " VALUES (?, 'SUBMITTED', ?, ?)";

    static String name;
    static Random chance;
    static FileOutputStream log;
    static int orders = 0;
    static volatile boolean going = true;

    static void note(String event, String detail, String... tokens)
            throws IOException {
        StringBuilder lines = new StringBuilder();
        double now = System.currentTimeMillis() / 1000.0;
        for (String token : tokens)
            lines.append(String.format(Locale.ROOT, "%.6f %s %s %s%n", now,
                                       token, event, detail));
        log.write(lines.toString().getBytes(StandardCharsets.US_ASCII));
    }

    static void doze(int most) throws InterruptedException {
        Thread.sleep(chance.nextInt(most + 1));
    }

    /** Only what the server said has an SQLSTATE; of a batch, of one. */
    static void noteError(SQLException error, String... tokens)
            throws IOException {
        if (tokens.length > 1)
            return;
        for (Throwable at = error; at != null; at = at.getCause())
            if (at instanceof PSQLException said
                    && said.getServerErrorMessage() != null) {
                note("E", said.getSQLState(), tokens);
                return;
            }
    }

    static void insert(Connection connection, String... tokens)
            throws SQLException, IOException {
        try (PreparedStatement insert =
                 connection.prepareStatement(INSERT)) {
            for (String token : tokens) {
                insert.setString(1, token);
                insert.setInt(2, chance.nextInt(20) - 1);
                insert.setInt(3, 1 + chance.nextInt(4));
                insert.addBatch();
            }
            note("S", "", tokens);
            insert.executeBatch();
            note("I", "", tokens);
        } catch (SQLException error) {
            noteError(error, tokens);
            throw error;
        }
    }

    static void execute(Connection connection, String sql)
            throws SQLException {
        try (var statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    /** What the transaction ends with. */
    static void end(Connection connection, Way way, String... tokens)
            throws SQLException, IOException, InterruptedException {
        switch (way) {
            case AUTO -> note("C", "", tokens);
            case ROLLBACK -> {
                connection.rollback();
                note("R", "", tokens);
            }
            case LEAVE -> {
                note("X", "left", tokens);
                connection.abort(Runnable::run);
            }
            case CUT -> {
                note("c", "", tokens);
                Thread commit = new Thread(() -> {
                    try {
                        connection.commit();
                    } catch (SQLException error) {
                        // nobody hears it
                    }
                });
                commit.start();
                doze(3);
                connection.abort(Runnable::run);
                commit.join();
                note("X", "cut", tokens);
            }
            default -> {
                if (way == Way.FAIL)
                    execute(connection, "SELECT 1 / 0");
                note("c", "", tokens);
                connection.commit();
                note("C", "", tokens);
            }
        }
    }

    static void place(Connection connection)
            throws SQLException, IOException, InterruptedException {
        Way way = WAYS[chance.nextInt(WAYS.length)];
        String[] tokens = new String[way == Way.BATCH ? 2 : 1];
        for (int i = 0; i < tokens.length; i++)
            tokens[i] = name + "-" + ++orders;
        connection.setAutoCommit(way == Way.AUTO);
        execute(connection, "SELECT 1");
        try {
            insert(connection, tokens);
            doze(20);
            end(connection, way, tokens);
        } catch (SQLException error) {
            try {
                if (way != Way.AUTO)
                    connection.rollback();
                else
                    execute(connection, "SELECT 1");
                note("R", "", tokens);
            } catch (SQLException another) {
                note("X", "", tokens);
            }
        }
    }

    static void placeOrders() throws IOException, InterruptedException {
        Connection connection = null;
        while (going) {
            try {
                if (connection == null || connection.isClosed())
                    connection = DriverManager.getConnection(
                        System.getenv("JDBC_URL") + "&ApplicationName="
                        + name);
                place(connection);
            } catch (SQLException error) {
                doze(200);
            }
            doze(20);
        }
    }

    public static void main(String[] arguments) throws Exception {
        name = arguments[0];
        chance = new Random(Long.parseLong(arguments[1]));
        log = new FileOutputStream(arguments[2], true);
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            going = false;
            try {
                main.join();
            } catch (InterruptedException error) {
                // it is killed then
            }
        }));
        placeOrders();
    }
}
