import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;
import java.util.Properties;

/**
 * Prints a query's rows, tab-separated: java -cp duckdb_jdbc.jar Query.java FILE SQL [LOAD], the last an extension's
 * statement that is executed first.
 */
public class Query {
  public static void main(String[] arguments) throws Exception {
    Properties settings = new Properties();
    if (arguments.length > 2) {
      settings.setProperty("allow_unsigned_extensions", "true");
    }
    try (Connection connection = DriverManager.getConnection("jdbc:duckdb:" + arguments[0], settings);
        Statement statement = connection.createStatement()) {
      if (arguments.length > 2) {
        statement.execute(arguments[2]);
      }
      ResultSet rows = statement.executeQuery(arguments[1]);
      int columns = rows.getMetaData().getColumnCount();
      while (rows.next()) {
        StringBuilder line = new StringBuilder();
        for (int column = 1; column <= columns; column++) {
          line.append(column > 1 ? "\t" : "").append(rows.getString(column));
        }
        System.out.println(line);
      }
    }
  }
}
