//! A bucket as a part of a system: what rows refer to in it, and how it comes back with the rest.

use crate::buckets::Site;
use crate::cli::{Output, exit, run};
use crate::pg::Server;
use std::fs;

struct Shop {
    site: Site,
    server: Server,
}

impl Shop {
    fn run(&self, args: &[&str]) -> Output {
        let mut command = self.site.command(args);
        self.server.reached_by(&mut command, "postgres");
        run(command, b"")
    }
}

/// Rows that name objects, and the objects.
fn shop() -> Shop {
    let (site, server) = (Site::new(), Server::start());
    server.create("shop");
    server.psql("shop", "CREATE TABLE media AS SELECT 'inv/' || i AS key FROM generate_series(1, 20) i");
    (1..=20).for_each(|at| site.put(&format!("inv/{at}"), format!("contents {at}").as_bytes()));
    let path = site.vault.work().join("dumpvault.toml");
    let own = fs::read_to_string(&path).unwrap();
    let more = format!(
        "[system.shop]\nsources = ['db', 'uploads']\n[source.db]\nuri = '{}'\n\
         references = {{ uploads = \"SELECT key FROM media\" }}\n",
        server.uri("shop")
    );
    fs::write(path, format!("{own}\n{more}")).unwrap();
    let shop = Shop { site, server };
    shop.run(&["run", "shop"]).expect(exit::OK);
    shop
}

#[test]
fn given_rows_that_name_objects_when_the_system_is_verified_then_those_without_an_object_are_named() {
    let shop = shop();
    let told = shop.run(&["verify", "shop"]).expect(exit::OK);
    assert!(told.text().contains("references to `uploads`: 20 keys: good"), "{told}");
    // A key that only ends like one of the bucket is another key.
    shop.server.psql("shop", "INSERT INTO media VALUES ('3'), ('/inv/4'), ('inv/21')");
    shop.run(&["run", "shop"]).expect(exit::OK);
    let told = shop.run(&["verify", "shop"]).expect(exit::INTEGRITY);
    told.says("references to `uploads`: 23 keys: 2 without an object: 3, inv/21");
}

#[test]
fn given_a_run_with_a_bucket_when_its_set_is_restored_then_the_objects_go_where_the_source_reads_them() {
    let shop = shop();
    let plan = shop.run(&["restore", "--set", "shop", "--plan"]).expect(exit::OK);
    assert!(
        plan.text().contains("1. uploads: dumpvault restore") && plan.text().contains("--to-bucket s3://"),
        "{plan}"
    );
    let names = |shop: &Shop, front: &str| {
        shop.site.server.names().into_iter().filter(|name| name.starts_with(front)).count()
    };
    // The endpoint and the keys are those of the source; the address alone leads nowhere.
    (1..=20).for_each(|at| shop.site.server.remove_object(&format!("in/inv/{at}")));
    let args = ["restore", "--set", "shop", "--skip", "db", "--apply", "--yes"];
    shop.run(&args).expect(exit::OK);
    assert_eq!(names(&shop, "in/"), 20);
    // Elsewhere where somebody says so: another bucket, or a folder.
    let to = format!("uploads={}", shop.site.server.address("out"));
    shop.run(&[&args[..], &["--set-target", &to]].concat()).expect(exit::OK);
    assert_eq!(names(&shop, "out/"), 20);
    shop.run(&[&args[..], &["--set-target", "uploads=folder"]].concat()).expect(exit::OK);
    assert_eq!(fs::read(shop.site.vault.work().join("folder/inv/7")).unwrap(), b"contents 7");
}
